// Package rdevserver is rdev-api: it opens what the service of commands needs, wires the parts together, listens, and
// ends everything in order. It is the only package that sees all parts of internal/rdev.
//
// Hazards:
//
//   - What an earlier process left running is ended before the service of commands is opened, which records it as lost.
//   - Streams are closed after the commands have ended, so that who follows one is told its end; the outputs
//     after the streams; the database last.
//   - A second process on the same database, state directory or socket is refused by locks that the kernel gives back
//     when a process dies; with [Options].Handover it waits for that.
package rdevserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/internal/cgroup"
	"stella/internal/kube"
	"stella/internal/listen"
	"stella/internal/rdev/api"
	"stella/internal/rdev/audit"
	"stella/internal/rdev/keys"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/pods"
	"stella/internal/rdev/pressure"
	"stella/internal/rdev/projects"
	"stella/internal/rdev/run"
	"stella/internal/rdev/service"
	"stella/internal/rdev/stream"
	"stella/internal/rdev/webhook"
	"stella/internal/store"
	"stella/internal/telemetry"
)

// adminHeader bounds how long a client of the admin listener may take for its headers.
const adminHeader = 10 * time.Second

// tellTime is how long streams have to tell the ends of commands when the service stops: a reader is woken within 20 ms.
const tellTime = time.Second

// parts are what a running service is made of.
type parts struct {
	o         Options
	db        *store.DB
	logs      *outlog.Store
	projects  *projects.Projects
	runner    runner
	victims   *victims
	memory    *pressure.Watch
	hooks     *webhook.Sender // nil is none
	incidents *incidents      // nil is none
	commands  *service.Service
	hub       *stream.Hub
	metrics   *metrics
	api       *api.API
	end       closers
}

// Run is the service, until ctx ends. It calls ready when requests are answered.
func Run(ctx context.Context, o Options, ready func()) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	o.checkDescriptors()
	p, began := &parts{o: o, metrics: newMetrics(o.Version)}, time.Now()
	defer func() { err = errors.Join(err, p.end.close()) }()
	for _, open := range []func(context.Context) error{p.openState, p.openProjects, p.openIncidents, p.openCommands, p.openAPI} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	listeners, err := p.listen(ctx)
	if err != nil {
		return err
	}
	work, ctx := errgroup.WithContext(ctx)
	main := p.api.Server()
	for _, l := range listeners.api {
		work.Go(func() error { return listen.Serve(ctx, main, l) })
	}
	if listeners.admin != nil {
		p.o.Admin = listeners.admin.Addr().String() // where it was asked for any port
		admin := &http.Server{Handler: p.adminHandler(), ReadHeaderTimeout: adminHeader, MaxHeaderBytes: 16 << 10}
		work.Go(func() error { return listen.Serve(ctx, admin, listeners.admin) })
	}
	work.Go(func() error { return p.commands.Run(ctx) })
	work.Go(func() error { return ended(ctx, p.memory.Run(ctx)) })
	if len(p.o.places)+len(p.o.Roots) > 0 {
		work.Go(func() error { return p.victims.run(ctx) })
	}
	if p.o.Kubernetes {
		work.Go(func() error { return p.endLost(ctx, began) })
	}
	if p.hooks != nil {
		work.Go(func() error { return ended(ctx, p.hooks.Run(ctx)) })
	}
	if p.incidents != nil {
		work.Go(func() error { p.incidents.Run(ctx); return nil })
	}
	p.o.Log.Info("ready", "version", o.Version, "socket", p.o.Socket, "listen", p.o.Listen, "admin", p.o.Admin, "state", p.o.StateDir, "store", p.db.Name(), "cache_ttl", p.o.CacheTTL)
	ready()
	return work.Wait()
}

// ended is err, unless it says only that ctx has ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// openState opens what is on the disk.
func (p *parts) openState(ctx context.Context) (err error) {
	for _, dir := range []string{p.o.StateDir, filepath.Join(p.o.StateDir, "logs")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the directory of the service's state: %w", err)
		}
	}
	// Kubernetes starts a pod in place of one that somebody deletes while that one still writes down how its commands ended: the new one waits for it.
	if p.db, err = store.Open(ctx, store.Options{URL: p.o.Store, Wait: p.o.Handover, Log: p.o.Log}); err != nil {
		return err
	}
	p.end.add("database", p.db.Close)
	if p.logs, err = outlog.Open(filepath.Join(p.o.StateDir, "logs"), outlog.Options{MaxBytes: int64(p.o.LogBytes), MaxAge: p.o.LogAge, Log: p.o.Log}); err != nil {
		return err
	}
	p.end.add("outputs", p.logs.Close)
	p.memory, err = pressure.New(pressure.Options{Profiles: filepath.Join(p.o.StateDir, "profiles"), Log: p.o.Log})
	return err
}

// openProjects finds where commands run.
func (p *parts) openProjects(context.Context) (err error) {
	o := projects.Options{Roots: p.o.Roots, Places: p.o.places, TTL: p.o.CacheTTL, Log: p.o.Log}
	if p.o.Kubernetes {
		config, err := kubeConfig(p.o.Kubeconfig)
		if err != nil {
			return err
		}
		o.Kube = kube.New(config, "rdev-api/"+p.o.Version)
		p.end.add("connections to Kubernetes", func() error { o.Kube.Close(); return nil })
		o.Namespace, o.Labels, o.Container = p.o.Namespace, p.o.Pods, p.o.Container
	}
	if p.projects, err = projects.New(o); err != nil {
		return err
	}
	p.end.add("projects", p.projects.Close)
	return p.openRunner(o.Kube)
}

func kubeConfig(file string) (kube.Config, error) {
	if file != "" {
		return kube.Kubeconfig(file, "")
	}
	config, err := kube.InCluster()
	if errors.Is(err, kube.ErrNotInCluster) {
		return config, fmt.Errorf("%w: give --kubeconfig", err)
	}
	return config, err
}

func (p *parts) openRunner(cluster *kube.Client) error {
	name := group(p.o.StateDir)
	p.victims = newVictims(name, p.o.Log)
	here, err := run.New(run.Options{Group: name, User: p.o.user, Victim: p.victims.last, Log: p.o.Log})
	if err != nil {
		return err
	}
	if support := here.Support(); support.Verdict != cgroup.Yes && len(p.o.places)+len(p.o.Roots) > 0 {
		p.o.Log.Warn("memory limits of commands are not kept on this machine", "why", support.Reason)
	}
	switch left, err := here.RemoveLeft(); {
	case err != nil:
		return fmt.Errorf("end the commands that an earlier process left running: %w", err)
	case left > 0:
		p.o.Log.Warn("ended commands that an earlier process left running", "commands", left)
	}
	p.runner = runner{here: here, pods: pods.New(pods.Options{Kube: cluster, Log: p.o.Log})}
	return nil
}

// openCommands opens the service of commands, and what it works with.
func (p *parts) openCommands(ctx context.Context) (err error) {
	o := service.Options{
		DB: p.db, Logs: p.logs, Runner: p.runner, Projects: p.projects,
		Limits: p.o.Limits, Pressure: p.memory.RefuseCommands, Metrics: p.metrics, Log: p.o.Log,
	}
	if p.o.totalByItself {
		o.Limits.TotalMemory = p.o.totalMemory()
	}
	if p.o.WebhookSecretFile != "" {
		p.hooks, err = webhook.Open(ctx, webhook.Options{
			DB: p.db, SecretFile: p.o.WebhookSecretFile, Allow: p.o.webhookAllow, AllowPlain: p.o.WebhookPlainHTTP, Log: p.o.Log,
			Done: p.metrics.webhook,
		})
		if err != nil {
			return err
		}
		o.Hooks = p.hooks
	}
	if p.incidents != nil {
		o.Killed = p.incidents.killed
	}
	p.commands, err = service.Open(ctx, o)
	return err
}

// openAPI makes what answers requests.
func (p *parts) openAPI(ctx context.Context) (err error) {
	keep, err := keys.Open(ctx, p.db, p.o.Log)
	if err != nil {
		return err
	}
	who, err := audit.Open(ctx, p.db, p.o.Log)
	if err != nil {
		return err
	}
	p.hub, err = stream.New(stream.Options{
		Total: p.o.Streams, PerKey: p.o.StreamsPerKey, PerCommand: p.o.StreamsPerCommand, MaxAge: p.o.StreamAge, Log: p.o.Log,
	})
	if err != nil {
		return err
	}
	p.end.add("streams", p.closeStreams)
	p.metrics.watch(p)
	p.api = api.New(api.Options{
		Service: p.commands, Projects: p.projects, Hub: p.hub, Keys: keep, Gate: keys.NewGate(keep, p.o.master), Audit: who,
		RefuseStreams: p.memory.RefuseStreams, Own: telemetry.Admin(p.metrics.registry, live, p.ready()), MetricsFrom: p.o.metricsFrom, PerSecond: p.o.PerSecond,
		Answered: p.metrics.answered, Refused: p.metrics.unauthorized.Inc, Log: p.o.Log,
	})
	return nil
}

// closeStreams closes the streams, a moment after the last commands have ended, so that who follows one is told how.
func (p *parts) closeStreams() error {
	for end := time.Now().Add(tellTime); p.hub.Stats().Active > 0 && time.Now().Before(end); {
		time.Sleep(tellTime / 20)
	}
	return p.hub.Close()
}

var live = []telemetry.Check{{Name: "ping", Run: func(context.Context) error { return nil }}}

// ready are what new commands need.
func (p *parts) ready() []telemetry.Check {
	return []telemetry.Check{
		{Name: "store", Run: func(ctx context.Context) error {
			return p.db.Read(ctx, func(tx *store.Tx) error {
				var one int
				_, err := tx.Get(ctx, `SELECT 1`, nil, &one)
				return err
			})
		}},
		{Name: "memory", Run: func(context.Context) error {
			if refuse, why := p.memory.RefuseCommands(); refuse {
				return errors.New(why)
			}
			return nil
		}},
		{Name: "commands", Run: func(context.Context) error {
			if p.commands.Counts().Stopping {
				return errors.New("the service is being stopped")
			}
			return nil
		}},
	}
}

// adminHandler answers about the service itself. Beyond loopback it asks for keys as the API does.
func (p *parts) adminHandler() http.Handler {
	if listen.Loopback(p.o.Admin) {
		return telemetry.Admin(p.metrics.registry, live, p.ready())
	}
	return p.api.Admin()
}
