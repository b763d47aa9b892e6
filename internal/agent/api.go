package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"stella/internal/apikey"
	"stella/internal/feed"
	"stella/internal/oom"
	"stella/internal/sse"
)

const (
	// readHeader, readAll and idle bound what a client of the socket can hold open.
	readHeader = 10 * time.Second
	readAll    = 30 * time.Second
	idle       = 2 * time.Minute
	maxHeader  = 16 << 10
	// maxStreams bounds those who follow kills or incidents, each of which costs some 70 KiB.
	maxStreams = 16
	// maxProcesses bounds one answer about processes.
	maxProcesses = 1000
	// maxCgroup is the longest path of a cgroup that is asked for: the kernel's PATH_MAX.
	maxCgroup = 4096
)

// reads is what the API shows.
type reads interface {
	Kills(oom.Filter) []oom.Kill
	Kill(id string) (oom.Kill, bool)
	// Follow calls fn with each kill behind the cursor, "" for those to come, until ctx ends.
	Follow(ctx context.Context, after string, fn func(cursor string, e oom.KillEvent) error) error
	Usage() []oom.Usage
	Series(cgroup string) []oom.Sample
	// Limits reads the limits of a cgroup and of those above it, now.
	Limits(cgroup string) ([]oom.CgroupLimit, error)
	Gauges(cgroup string) []oom.Gauge
	Heaps(cgroup string) []oom.Heap
	// OpenHeap opens a heap profile; fs.ErrNotExist is that there is none.
	OpenHeap(id string) (io.ReadCloser, error)
	Processes(limit int) []oom.ProcessUsage
	Node() oom.NodeUsage
	Status() oom.AgentStatus
}

// api answers over the agent's socket, whose permissions say who may ask. Everything only reads, but for what people tell of incidents.
type api struct {
	from      reads
	incidents incidentsAPI
	log       *slog.Logger
	closing   <-chan struct{}
	streams   chan struct{}
}

// newAPI makes the server of the socket. Streams end when closing is closed.
func newAPI(from reads, incidents incidentsAPI, log *slog.Logger, closing <-chan struct{}) *http.Server {
	a := &api{from: from, incidents: incidents, log: log, closing: closing, streams: make(chan struct{}, maxStreams)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/kills", a.kills)
	mux.HandleFunc("GET /v1/kills/events", a.events)
	mux.HandleFunc("GET /v1/kills/{id}", a.kill)
	mux.HandleFunc("GET /v1/containers", func(w http.ResponseWriter, _ *http.Request) { a.answer(w, list(a.from.Usage())) })
	mux.HandleFunc("GET /v1/limits", a.limits)
	mux.HandleFunc("GET /v1/series", a.ofCgroup(func(cgroup string) any { return list(a.from.Series(cgroup)) }))
	mux.HandleFunc("GET /v1/gauges", a.ofCgroup(func(cgroup string) any { return list(a.from.Gauges(cgroup)) }))
	mux.HandleFunc("GET /v1/heaps", a.ofCgroup(func(cgroup string) any { return list(a.from.Heaps(cgroup)) }))
	mux.HandleFunc("GET /v1/heaps/{id}", a.heap)
	mux.HandleFunc("GET /v1/processes", a.processes)
	mux.HandleFunc("GET /v1/node", func(w http.ResponseWriter, _ *http.Request) { a.answer(w, a.from.Node()) })
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { a.answer(w, a.from.Status()) })
	a.handleIncidents(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		asked := &http.Request{Method: http.MethodGet, URL: r.URL, Host: r.Host}
		if _, pattern := mux.Handler(asked); pattern != "/" {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("this agent has no %s %s, which can only be read", r.Method, r.URL.Path))
			return
		}
		refuse(w, http.StatusNotFound, fmt.Sprintf("this agent has no %s %s; docs/agent.md lists what it has", r.Method, r.URL.Path))
	})
	return &http.Server{Handler: mux, ConnContext: apikey.ConnContext, ReadHeaderTimeout: readHeader, ReadTimeout: readAll, IdleTimeout: idle, MaxHeaderBytes: maxHeader}
}

func (a *api) kills(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := oom.Filter{Namespace: q.Get("namespace"), Pod: q.Get("pod"), Container: q.Get("container"), Workload: q.Get("workload")}
	var ok bool
	if f.Since, ok = moment(w, q.Get("since"), "since"); !ok {
		return
	}
	if f.Limit, ok = number(w, q.Get("limit"), "limit", oom.MaxKills); !ok {
		return
	}
	a.answer(w, list(a.from.Kills(f)))
}

func (a *api) kill(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	k, ok := a.from.Kill(id)
	if !ok {
		refuse(w, http.StatusNotFound, fmt.Sprintf("the ledger has no kill %q; it may have been dropped for its age (stella oom list has those that are kept)", id))
		return
	}
	a.answer(w, k)
}

// limits answers with what the kernel has at this moment, which for who changed a limit is the only proof.
func (a *api) limits(w http.ResponseWriter, r *http.Request) {
	cgroup, ok := cgroupOf(w, r)
	if !ok {
		return
	}
	limits, err := a.from.Limits(cgroup)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no cgroup %q (any more); stella top containers -o wide has those that there are", cgroup))
	case err != nil:
		refuse(w, http.StatusServiceUnavailable, err.Error())
	default:
		a.answer(w, limits)
	}
}

// cgroupOf is the cgroup that a request asks for.
func cgroupOf(w http.ResponseWriter, r *http.Request) (string, bool) {
	cgroup := r.URL.Query().Get("cgroup")
	if !strings.HasPrefix(cgroup, "/") || len(cgroup) > maxCgroup {
		refuse(w, http.StatusUnprocessableEntity, "cgroup: the path of a cgroup begins with / and has at most 4096 bytes")
		return "", false
	}
	return cgroup, true
}

// ofCgroup answers with what there is of the cgroup that is asked for.
func (a *api) ofCgroup(of func(cgroup string) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if cgroup, ok := cgroupOf(w, r); ok {
			a.answer(w, of(cgroup))
		}
	}
}

// heap sends a heap profile as the program wrote it.
func (a *api) heap(w http.ResponseWriter, r *http.Request) {
	profile, err := a.from.OpenHeap(r.PathValue("id"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound, fmt.Sprintf("there is no heap profile %q; it may have been dropped for newer ones", r.PathValue("id")))
		return
	case err != nil:
		a.log.Error("a heap profile cannot be read", "error", err)
		refuse(w, http.StatusInternalServerError, "the heap profile cannot be read; the agent's log says why")
		return
	}
	defer profile.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if _, err := io.Copy(w, profile); err != nil {
		a.log.Debug("a heap profile was not taken", "error", err)
	}
}

func (a *api) processes(w http.ResponseWriter, r *http.Request) {
	n, ok := number(w, r.URL.Query().Get("limit"), "limit", maxProcesses)
	if !ok {
		return
	}
	if n == 0 {
		n = maxProcesses
	}
	a.answer(w, list(a.from.Processes(n)))
}

// events streams kills until the client goes away.
func (a *api) events(w http.ResponseWriter, r *http.Request) {
	after := r.Header.Get("Last-Event-ID")
	if err := feed.CheckCursor(after); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("Last-Event-ID: %v; leave it out to follow from now on", err))
		return
	}
	a.stream(w, r, "kills", func(ctx context.Context, send func(sse.Event) error) error {
		return a.from.Follow(ctx, after, func(cursor string, e oom.KillEvent) error {
			data, err := json.Marshal(e)
			if err != nil {
				return err
			}
			return send(sse.Event{ID: cursor, Data: data})
		})
	})
}

// stream streams what follow sends, if not too many are streamed to already.
func (a *api) stream(w http.ResponseWriter, r *http.Request, what string, follow func(context.Context, func(sse.Event) error) error) {
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusTooManyRequests, fmt.Sprintf("%d clients follow this agent already, which is the most", maxStreams))
		return
	}
	if err := sse.Serve(w, r, a.closing, follow); err != nil && !errors.Is(err, context.Canceled) {
		a.log.Debug("a stream ended", "of", what, "error", err)
	}
}

// list makes [] of nothing, which null is not.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func (a *api) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		a.log.Debug("an answer was not taken", "error", err)
	}
}

// moment reads a time; empty is the zero time.
func moment(w http.ResponseWriter, text, name string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("%s: %q is no time as in RFC 3339, such as 2026-11-21T03:33:00Z", name, text))
		return time.Time{}, false
	}
	return t, true
}

// number reads a count from 0 to most; empty is 0.
func number(w http.ResponseWriter, text, name string, most int) (int, bool) {
	if text == "" {
		return 0, true
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		refuse(w, http.StatusUnprocessableEntity, fmt.Sprintf("%s: %q is no number from 0 to %d", name, text, most))
		return 0, false
	}
	return n, true
}

// refuse answers with a problem (RFC 9457).
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "title": http.StatusText(status), "detail": detail})
}
