//go:build !linux

package stream

import "net/http"

// Connections are taken over only on Linux; elsewhere all are served the plain way.

func (h *Hub) direct(http.ResponseWriter, *http.Request, *connection, uint64) bool { return false }

type lanes struct{}

type watcher struct{}

func newWatcher() (*watcher, error)     { return &watcher{}, nil }
func (*watcher) run(func(uint64)) error { return nil }
func (*watcher) close() error           { return nil }
