package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"stella/internal/listen"
	"stella/internal/scanner"
	"stella/internal/scanner/service"
	"stella/internal/server/auth"
	"stella/internal/telemetry"
)

// adminHeader bounds how long a client of the admin listener may take for its headers.
const adminHeader = 10 * time.Second

// adminServer serves metrics, health and profiles.
func adminServer(o Options, metrics *telemetry.Scanner, scans *service.Service, gate *auth.Gate) *http.Server {
	metrics.Watch(scans)
	ready := []telemetry.Check{{Name: "store", Run: scans.Ready}}
	live := []telemetry.Check{{Name: "ping", Run: func(context.Context) error { return nil }}}
	handler := metrics.Admin(live, ready)
	if !listen.Loopback(o.Admin) {
		handler = withKey(gate, handler)
	}
	return &http.Server{Handler: handler, ReadHeaderTimeout: adminHeader, MaxHeaderBytes: 16 << 10}
}

// withKey wants an API key, whatever its scope, for all but health, which a
// kubelet asks for without one, and which says nothing that an attacker could use.
func withKey(gate *auth.Gate, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !telemetry.IsHealth(r.URL.Path) {
			who, err := gate.Identify(r)
			if err != nil {
				w.Header().Set("WWW-Authenticate", "Bearer")
				http.Error(w, "an API key is needed", http.StatusUnauthorized)
				return
			}
			if strings.HasPrefix(r.URL.Path, "/debug/") && who.Scope != scanner.ScopeAdmin {
				http.Error(w, "an API key with the scope admin is needed", http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}
