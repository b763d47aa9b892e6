// Package api is the HTTP API of rdev-api: the paths, scopes, answers and problems of docs/rdev.md, over the service
// of commands, the projects, and the hub of streams.
//
// A request goes through a guard before it gets to its handler: does a browser send it for another site, who sent it, do they
// send too many? Everything that is not an answer is a problem (RFC 9457), of one table: see [kinds].
//
// Hazards:
//
//   - http.Server's timeouts for reading and writing would also end streams. Bodies have a deadline while they are read, and answers
//     one for each write, instead.
//   - An answer that has begun cannot become a problem any more: it is cut, so that the client sees that it is not whole.
//   - Behind a proxy every request comes from the proxy, perhaps over loopback. What has a header of a proxy is never
//     taken for local.
package api

import (
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"stella/internal/apikey"
	"stella/internal/limit"
	"stella/internal/rdev"
	"stella/internal/rdev/audit"
	"stella/internal/rdev/keys"
	"stella/internal/rdev/projects"
	"stella/internal/rdev/service"
	"stella/internal/rdev/stream"
	"stella/internal/routes"
)

const (
	// maxHeader is the most bytes of a request's headers.
	maxHeader = 16 << 10
	// headerTimeout, bodyTimeout and writeTimeout bound how long a client may take to send its headers and its body, and to take a
	// part of an answer.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 20 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	// Requests that are answered at the same time; outputs, which have a buffer of some 100 KiB each; and profiles.
	maxRequests, maxRequestsEach = 256, 64
	maxOutputs, maxOutputsEach   = 64, 16
	maxOwn                       = 8
	// maxLarge is how many bodies above smallBody, of up to 4 MiB, are in memory at the same time.
	maxLarge, maxLargeEach = 4, 2
	// doc has all paths.
	doc = "docs/rdev.md"
)

// Options are what an API needs. All fields but those that say so are needed.
type Options struct {
	Service  *service.Service
	Projects *projects.Projects
	Hub      *stream.Hub
	Keys     *keys.Keys
	Gate     *keys.Gate
	Audit    *audit.Log
	// RefuseStreams says whether new streams are to be refused, for want of memory, and why.
	RefuseStreams func() (refuse bool, why string)
	// Own answers /metrics, /debug/pprof/, /livez and /readyz.
	Own http.Handler
	// MetricsFrom are networks that need no key for /metrics; it may be empty.
	MetricsFrom []netip.Prefix
	// PerSecond bounds the requests of one caller on average; twice as many may come at once. Who could stop the service as well
	// is not bounded.
	PerSecond int
	// Answered counts requests by status, 0 for a stream; Refused counts those from nobody.
	Answered func(status int)
	Refused  func()
	Log      *slog.Logger
}

// API answers requests.
type API struct {
	Options
	rates    *limit.Rates
	requests *limit.Slots
	outputs  *limit.Slots
	own      *limit.Slots
	large    *limit.Slots
	crossing *http.CrossOriginProtection
	mux      *http.ServeMux
}

// New makes an API.
func New(o Options) *API {
	a := &API{
		Options:  o,
		rates:    limit.NewRates(float64(o.PerSecond), 2*o.PerSecond),
		requests: limit.NewSlots(maxRequests, maxRequestsEach),
		outputs:  limit.NewSlots(maxOutputs, maxOutputsEach),
		own:      limit.NewSlots(maxOwn, maxOwn),
		large:    limit.NewSlots(maxLarge, maxLargeEach),
		crossing: http.NewCrossOriginProtection(),
		mux:      http.NewServeMux(),
	}
	const command = "/v1/projects/{project}/commands/{id}"
	a.handle("GET /v1/projects", rdev.ScopeRead, a.requests, a.listProjects)
	a.handle("GET /v1/projects/{project}", rdev.ScopeRead, a.requests, a.project)
	a.handle("POST /v1/projects/{project}/commands", rdev.ScopeRun, a.requests, a.submit)
	a.handle("GET /v1/projects/{project}/commands", rdev.ScopeRead, a.requests, a.commands)
	a.handle("GET /v1/commands", rdev.ScopeRead, a.requests, a.commands)
	a.handle("GET "+command, rdev.ScopeRead, a.requests, a.command)
	a.handle("DELETE "+command, rdev.ScopeRun, a.requests, a.cancel)
	a.handle("GET "+command+"/output", rdev.ScopeRead, a.outputs, a.output)
	a.handle("GET "+command+"/events", rdev.ScopeRead, a.requests, a.events)
	a.handle("POST /v1/keys", rdev.ScopeAdmin, a.requests, a.createKey)
	a.handle("GET /v1/keys", rdev.ScopeAdmin, a.requests, a.listKeys)
	a.handle("DELETE /v1/keys/{name}", rdev.ScopeAdmin, a.requests, a.revokeKey)
	a.handle("POST /v1/keys/{name}/rotate", rdev.ScopeAdmin, a.requests, a.rotateKey)
	a.handle("GET /v1/audit", rdev.ScopeAdmin, a.requests, a.auditLog)
	return a
}

// handler answers a request of id, or returns why not, before it has written anything or to cut what it has.
type handler func(w http.ResponseWriter, r *http.Request, id keys.Identity) error

// handle adds a path for those who have a scope, and the project, when there is a slot.
func (a *API) handle(pattern string, scope rdev.Scope, slots *limit.Slots, h handler) {
	a.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		id := visitOf(r.Context()).Identity
		if err := a.admit(w, r, id, scope, slots, h); err != nil {
			a.fail(w, r, err)
		}
	})
}

func (a *API) admit(w http.ResponseWriter, r *http.Request, id keys.Identity, scope rdev.Scope, slots *limit.Slots, h handler) error {
	if !id.Scope.Includes(scope) {
		return rdev.Errorf(rdev.ErrDenied, "%s has the scope %s, and this needs the scope %s", id.Name, id.Scope, scope)
	}
	// Before anybody looks whether there is such a project, so that the answer does not tell.
	if project := r.PathValue("project"); project != "" {
		if err := rdev.CheckProject(project); err != nil {
			return err
		}
		if !id.May(project) {
			return rdev.Errorf(rdev.ErrDenied, "%s is not for the project %s", id.Name, project)
		}
	}
	release, ok := slots.Take(id.Name)
	if !ok {
		return errBusy
	}
	defer release()
	return h(w, r, id)
}

// Handler answers requests, except for what [API.Server] adds.
func (a *API) Handler() http.Handler { return a.outside(a.guard(routes.Strict(a.mux, doc, a.fail))) }

// Admin answers only about the service itself, for a listener of its own.
func (a *API) Admin() http.Handler {
	return a.outside(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isOwn(r.URL.Path) {
			a.fail(w, r, routes.NoPath(r, doc))
			return
		}
		a.serveOwn(w, r)
	}))
}

// Server is an HTTP server for the API's listeners. Streams are the hub's, which has to be closed as well.
func (a *API) Server() *http.Server {
	s := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       apikey.ConnContext,
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}
	// HTTP/2 would let one connection have hundreds of requests, for which nothing here has a use.
	s.Protocols.SetHTTP1(true)
	return s
}
