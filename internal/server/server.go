// Package server is stellad: it opens what the scanner service needs, wires the
// parts together, listens, and ends everything in order. It is the only package
// that sees every domain.
//
// Hazards:
//
//   - Things are closed in the opposite order of opening: listeners stop first,
//     then the workers end, the log is written out, and the database is closed last.
//   - A second server on the same SQLite database, data directory or socket is
//     refused by locks that the kernel gives back when a process dies.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/bytesize"
	"stella/internal/incident/book"
	"stella/internal/listen"
	"stella/internal/scanner"
	"stella/internal/scanner/logs"
	"stella/internal/scanner/queue"
	"stella/internal/scanner/service"
	"stella/internal/server/api"
	"stella/internal/server/auth"
	"stella/internal/store"
	"stella/internal/telemetry"
)

// Run is a server, until ctx ends. It calls ready when requests are answered.
func Run(ctx context.Context, o Options, ready func()) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	var end closers
	defer func() { err = errors.Join(err, end.close()) }()
	if err := makeDirs(&o); err != nil {
		return err
	}
	db, err := store.Open(ctx, store.Options{URL: o.Store, Log: o.Log})
	if err != nil {
		return err
	}
	end.add("database", db.Close)
	lines, err := logs.Open(ctx, db, o.Instance, o.Log)
	if err != nil {
		return err
	}
	end.add("log", lines.Close)
	o.Log = slog.New(lines.Handler(o.Log.Handler()))

	instance := scanner.Instance{Name: o.Instance, Version: o.Version, Started: time.Now()}
	if instance.Host, err = os.Hostname(); err != nil {
		return fmt.Errorf("the host's name: %w", err)
	}
	incidents, err := book.Open(ctx, db, book.Options{Log: o.Log})
	if err != nil {
		return err
	}
	jobs, err := queue.New(ctx, db, incidents, instance)
	if err != nil {
		return err
	}
	memory, err := workerMemory(int64(o.WorkerMemory))
	if err != nil {
		return err
	}
	metrics := telemetry.NewScanner(o.Version)
	scans, err := service.Start(ctx, service.Options{
		Queue: jobs, Logs: lines, Log: o.Log, Telemetry: metrics, Instance: instance, Store: db.Dialect(),
		Program: o.Worker, Group: group(o.DataDir), DataDir: o.DataDir, CacheDir: o.CacheDir, TempDir: o.TempDir,
		Policy:      o.policy(),
		AllowAttach: o.AllowAttach, Memory: memory,
	})
	if err != nil {
		return err
	}
	keys, err := auth.Open(ctx, db, o.Log)
	if err != nil {
		return err
	}
	gate := auth.NewGate(keys)
	served, err := examine(scans, o)
	if err != nil {
		return err
	}
	requests, err := api.New(api.Options{Service: served, Incidents: incidents, Keys: keys, Gate: gate, Version: o.Version, Log: o.Log})
	if err != nil {
		return err
	}
	listeners, err := open(ctx, o)
	if err != nil {
		return err
	}

	work, ctx := errgroup.WithContext(ctx)
	main := requests.Server()
	for _, l := range listeners.api {
		work.Go(func() error { return listen.Serve(ctx, main, l) })
	}
	if listeners.admin != nil {
		o.Admin = listeners.admin.Addr().String() // where it was asked for any port
		admin := adminServer(o, metrics, scans, gate)
		work.Go(func() error { return listen.Serve(ctx, admin, listeners.admin) })
	}
	work.Go(func() error { return scans.Run(ctx) })
	work.Go(func() error { return incidents.Run(ctx) })
	o.Log.Info("ready", "version", o.Version, "socket", o.Socket, "listen", o.Listen, "admin", o.Admin,
		"store", db.Name(), "worker memory", bytesize.Text(memory))
	ready()
	return work.Wait()
}

// makeDirs makes the directories of a server, private to its user. The socket's
// may be entered by others: who may use a socket, its own mode says.
func makeDirs(o *Options) error {
	for _, dir := range []string{o.DataDir, o.CacheDir, o.TempDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make a directory of the server: %w", err)
		}
	}
	if o.Socket == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(o.Socket), 0o755); err != nil {
		return fmt.Errorf("make the directory of the server's socket: %w", err)
	}
	return nil
}

// listeners are where requests come in.
type listeners struct {
	api   []net.Listener
	admin net.Listener
}

// open listens everywhere, or nowhere.
func open(ctx context.Context, o Options) (ls listeners, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls.api {
				l.Close()
			}
		}
	}()
	if o.Socket != "" {
		l, err := listen.Unix(ctx, o.Socket, o.SocketGroup)
		if err != nil {
			return ls, err
		}
		ls.api = append(ls.api, l)
	}
	if o.Listen != "" {
		l, err := listen.TCP(ctx, listen.TCPOptions{Address: o.Listen, CertFile: o.TLSCert, KeyFile: o.TLSKey, AllowPlain: o.AllowPlainHTTP})
		if err != nil {
			return ls, err
		}
		ls.api = append(ls.api, l)
	}
	if o.Admin != "" {
		// The same certificate: beyond loopback API keys go over it, too.
		ls.admin, err = listen.TCP(ctx, listen.TCPOptions{Address: o.Admin, CertFile: o.TLSCert, KeyFile: o.TLSKey, AllowPlain: o.AllowPlainHTTP})
	}
	return ls, err
}

// closers are what is to be closed, with names.
type closers []closer

type closer struct {
	name  string
	close func() error
}

func (c *closers) add(name string, f func() error) { *c = append(*c, closer{name, f}) }

// close closes the last one first.
func (c *closers) close() (err error) {
	for i := len(*c) - 1; i >= 0; i-- {
		if e := (*c)[i].close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close the %s: %w", (*c)[i].name, e))
		}
	}
	return err
}
