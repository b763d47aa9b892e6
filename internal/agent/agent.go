// Package agent is stella-agent: it opens the witnesses of OOM kills on this
// machine, wires them to the ledger, samples the memory of containers, and answers
// over a Unix socket. It is the only package that sees all parts of internal/oom.
//
// Words: see [stella/internal/oom]. A witness that is not here (off) or cannot be
// read (failed) takes nothing else along: the agent goes on with the others, and says
// in its log, its status and a metric what is lost.
//
// Hazards:
//
//   - The cgroups must be watched before the kernel log is read: who was in a
//     cgroup is known only while it is there.
//   - The ledger is closed last, after everything that tells it something.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"stella/internal/listen"
	"stella/internal/oom"
	"stella/internal/telemetry"
)

// Run is an agent, until ctx ends. It calls ready when requests are answered.
func Run(ctx context.Context, o Options, ready func()) error {
	if err := o.Validate(); err != nil {
		return err
	}
	n, err := openNode(o)
	if err != nil {
		return err
	}
	m := newMetrics(o.Version, n)
	n.lag = m.seen
	socket, admin, err := open(ctx, o)
	if err != nil {
		return errors.Join(err, n.close())
	}
	work, ctx := errgroup.WithContext(ctx)
	requests := newAPI(n, n.incidentsAPI(), o.Log, ctx.Done())
	if socket != nil {
		work.Go(func() error { return listen.Serve(ctx, requests, socket) })
	}
	if admin != nil {
		server := &http.Server{Handler: listen.WithToken(o.token, telemetry.IsHealth, telemetry.Admin(m.registry, live, n.ready())), ReadHeaderTimeout: readHeader, MaxHeaderBytes: maxHeader}
		work.Go(func() error { return listen.Serve(ctx, server, admin) })
		o.Admin = admin.Addr().String() // where it was asked for any port
	}
	work.Go(func() error { return n.run(ctx) })
	o.Log.Info("ready", "version", o.Version, "node", o.Node, "socket", o.Socket, "admin", o.Admin, "state", o.StateDir)
	ready()
	return errors.Join(work.Wait(), n.close())
}

var live = []telemetry.Check{{Name: "ping", Run: func(context.Context) error { return nil }}}

// open listens everywhere, or nowhere.
func open(ctx context.Context, o Options) (socket, admin net.Listener, err error) {
	if o.Socket != "" {
		if err := os.MkdirAll(filepath.Dir(o.Socket), 0o755); err != nil {
			return nil, nil, fmt.Errorf("make the directory of the agent's socket: %w", err)
		}
		if socket, err = listen.Unix(ctx, o.Socket, o.SocketGroup); err != nil {
			return nil, nil, err
		}
	}
	if o.Admin != "" {
		if admin, err = listen.TCP(ctx, o.admin()); err != nil && socket != nil {
			socket.Close()
		}
	}
	return socket, admin, err
}

// witnesses are the states of all sources. It is safe for concurrent use.
type witnesses struct {
	log *slog.Logger

	mu  sync.Mutex
	all []oom.WitnessReport
}

// set says how a witness does, and logs it when that is news.
func (w *witnesses) set(name oom.Witness, state, detail string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := oom.WitnessReport{Name: name, State: state, Detail: detail}
	for i, old := range w.all {
		if old.Name == name {
			if old.State != state {
				w.tell(now)
			}
			w.all[i] = now
			return
		}
	}
	w.all = append(w.all, now)
	w.tell(now)
}

func (w *witnesses) tell(r oom.WitnessReport) {
	level := slog.LevelInfo
	if r.State == stateFailed {
		level = slog.LevelWarn
	}
	w.log.Log(context.Background(), level, "witness "+r.State, "witness", string(r.Name), "detail", r.Detail)
}

// list is how all of them do.
func (w *witnesses) list() []oom.WitnessReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]oom.WitnessReport{}, w.all...)
}

// failed names those that failed.
func (w *witnesses) failed() string {
	var names []string
	for _, r := range w.list() {
		if r.State == stateFailed {
			names = append(names, string(r.Name))
		}
	}
	return strings.Join(names, ", ")
}
