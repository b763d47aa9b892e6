// Package api is the HTTP API of the scanner service: the paths, scopes, answers and problems of
// docs/http-api.md, over a [Service] that does the work. It describes itself at
// /openapi.json.
//
// A request goes through a guard before it gets to its operation: who sent it, and do
// they send too many? Each operation then has a scope and a slot. Everything that
// is not an answer is a problem (RFC 9457), of one table: see [kinds].
//
// Hazards:
//
//   - http.Server's timeouts for reading and writing would also end streams, and the
//     contexts of requests that take long. Bodies have a deadline while they are
//     read, and answers one while they are written, instead.
//   - An answer that has begun cannot become a problem any more: it is cut, so that the
//     client sees that it is not whole.
package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"stella/internal/apikey"
	"stella/internal/doctor"
	"stella/internal/incident"
	"stella/internal/incident/book"
	"stella/internal/limit"
	"stella/internal/routes"
	"stella/internal/server/auth"
)

const (
	// maxBody is the most bytes of a request: an image's reference has at most 4 KiB.
	maxBody = 64 << 10
	// maxLarge and maxLargeEach are how many bodies of events there are at a time, of up to incident.MaxBody each.
	maxLarge, maxLargeEach = 4, 2
	// maxHeader is the most bytes of a request's headers.
	maxHeader = 16 << 10
	// headerTimeout, bodyTimeout and writeTimeout bound how long a client may take
	// to send, and to take a part of, what fits into a few packets.
	headerTimeout = 10 * time.Second
	bodyTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute

	// perSecond and atOnce bound the requests of one caller; the machine's own
	// administrator, who could stop the server as well, is not bounded.
	perSecond = 100
	atOnce    = 200
	// Requests that are answered at the same time, which may each wait for a
	// registry, and streams, which may stay open for long and cost some 30 KiB each.
	maxRequests, maxRequestsEach = 128, 64
	maxStreams, maxStreamsEach   = 256, 32
)

// Options are what an API needs.
type Options struct {
	Service Service
	// Incidents are those of all sources.
	Incidents *book.Book
	// Keys are the API keys, to be listed and changed; Gate tells who sends a request.
	Keys *auth.Keys
	Gate *auth.Gate
	// Version is the server's.
	Version string
	Log     *slog.Logger
}

// API answers requests.
type API struct {
	service   Service
	incidents *book.Book
	keys      *auth.Keys
	gate      *auth.Gate
	version   string
	log       *slog.Logger
	rates     *limit.Rates
	requests  *limit.Slots
	streams   *limit.Slots
	large     *limit.Slots
	mux       *http.ServeMux
	huma      huma.API
	document  []byte // of OpenAPI

	closeOnce sync.Once
	closing   chan struct{} // is closed when streams are to end
}

// New makes an API.
func New(o Options) (*API, error) {
	a := &API{
		service: o.Service, incidents: o.Incidents, keys: o.Keys, gate: o.Gate, version: o.Version, log: o.Log,
		rates:    limit.NewRates(perSecond, atOnce),
		requests: limit.NewSlots(maxRequests, maxRequestsEach),
		streams:  limit.NewSlots(maxStreams, maxStreamsEach),
		large:    limit.NewSlots(maxLarge, maxLargeEach),
		mux:      http.NewServeMux(),
		closing:  make(chan struct{}),
	}
	a.huma = humago.New(a.mux, config(o.Version))
	a.registerJobs()
	a.registerWorkers()
	a.registerSettings()
	a.registerReports()
	a.registerIncidents()
	a.registerKeys()
	var indented bytes.Buffer
	raw, err := json.Marshal(a.huma.OpenAPI())
	if err == nil {
		err = json.Indent(&indented, raw, "", "  ")
	}
	if err != nil {
		return nil, err
	}
	a.document = indented.Bytes()
	a.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(a.document)
	})
	return a, nil
}

// config describes the API. Nothing but its operations is served: no page that loads
// scripts from elsewhere, no links to schemas in answers.
func config(version string) huma.Config {
	c := huma.DefaultConfig("Stella scanner service", version)
	c.Info.Description = "Scans container images in workers with memory limits. Errors are problem documents (RFC 9457)."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{keyScheme: {
		Type: "http", Scheme: "bearer",
		Description: "An API key with one of the scopes read, scan, incidents, remedies, admin. On the server's Unix socket no key is needed: root and the server's own user have the scope admin, other users scan.",
	}}
	return c
}

// schemaName names a type in the document: those of the doctor and of incidents begin with that, as there are others of the same name.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	switch {
	case t.PkgPath() == reflect.TypeFor[doctor.Report]().PkgPath():
		return "Doctor" + name
	case t.PkgPath() == reflect.TypeFor[incident.Event]().PkgPath() && !strings.HasPrefix(name, "Incident"):
		return "Incident" + name
	}
	return name
}

// Handler answers requests, except for what [API.Server] adds.
func (a *API) Handler() http.Handler {
	return a.outside(a.guard(routes.Strict(a.mux, "/openapi.json", a.fail)))
}

// Server is an HTTP server for the API's listeners. Its Shutdown ends streams; their clients come back
// to the next server, and miss nothing.
func (a *API) Server() *http.Server {
	s := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       apikey.ConnContext,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}
	// HTTP/2 would let one connection have hundreds of requests, for which nothing here has a use.
	s.Protocols.SetHTTP1(true)
	s.RegisterOnShutdown(a.endStreams)
	return s
}

func (a *API) endStreams() { a.closeOnce.Do(func() { close(a.closing) }) }
