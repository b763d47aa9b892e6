package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one condition of being alive, or ready.
type Check struct {
	Name string
	// Run returns why not. It must return soon after ctx has ended.
	Run func(ctx context.Context) error
}

const (
	// checkTime bounds all checks of one request; kubelets wait 1 s as a rule, and people longer.
	checkTime = 5 * time.Second
	// maxReason is the most bytes that are shown of why a check failed.
	maxReason = 500
	// maxScrapes bounds the scrapes that are answered at the same time: each asks the database.
	maxScrapes = 4
)

// Admin serves the scanner's metrics, health and profiles, see [Admin].
func (s *Scanner) Admin(live, ready []Check) http.Handler { return Admin(s.registry, live, ready) }

// Admin serves /metrics, /livez, /readyz and /debug/pprof/. live and ready are the
// checks of the second and third, in order. They answer 200 or 503 as Kubernetes'
// API server does: ?verbose names the checks, ?exclude=NAME leaves one out, and /readyz/NAME is one
// alone. Why a check failed is told to this machine alone.
func Admin(registry *prometheus.Registry, live, ready []Check) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry, MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError, Timeout: 2 * stateTime}))
	handleChecks(mux, "livez", live)
	handleChecks(mux, "readyz", ready)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// IsHealth reports whether a request's path asks for health, and cannot be read as
// another. A kubelet asks for that without credentials.
func IsHealth(p string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	return p == path.Clean(p) && (first == "livez" || first == "readyz")
}

func handleChecks(mux *http.ServeMux, name string, checks []Check) {
	mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
		excluded := r.URL.Query()["exclude"]
		answer(w, r, name, slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return slices.Contains(excluded, c.Name) }))
	})
	for _, c := range checks {
		mux.HandleFunc("GET /"+name+"/"+c.Name, func(w http.ResponseWriter, r *http.Request) {
			answer(w, r, name, []Check{c})
		})
	}
}

// answer runs the checks one after the other: a probe comes every few seconds and must cost nothing.
func answer(w http.ResponseWriter, r *http.Request, name string, checks []Check) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), checkTime, fmt.Errorf("no answer within %v", checkTime))
	defer cancel()
	var text strings.Builder
	failed := false
	for _, c := range checks {
		err := c.Run(ctx)
		if err == nil {
			fmt.Fprintf(&text, "[+]%s ok\n", c.Name)
			continue
		}
		failed = true
		if errors.Is(err, context.DeadlineExceeded) {
			err = context.Cause(ctx)
		}
		fmt.Fprintf(&text, "[-]%s failed: %s\n", c.Name, reason(r, err))
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case failed:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "%s%s check failed\n", text.String(), name)
	case r.URL.Query().Has("verbose"):
		fmt.Fprintf(w, "%s%s check passed\n", text.String(), name)
	default:
		fmt.Fprint(w, "ok")
	}
}

// reason is why a check failed. Probes from other machines carry no credentials,
// and reasons name databases and paths, so they learn it from the log.
func reason(r *http.Request, err error) string {
	if from, parseErr := netip.ParseAddrPort(r.RemoteAddr); parseErr != nil || !from.Addr().Unmap().IsLoopback() {
		return "reason withheld"
	}
	s := strings.Join(strings.Fields(err.Error()), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
