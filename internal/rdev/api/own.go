package api

import (
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"

	"stella/internal/rdev"
)

// own are the paths about the service itself, which are answered by [Options.Own], by the name that they have there.
var own = map[string]string{
	"/live": "/livez", "/livez": "/livez", "/ready": "/readyz", "/readyz": "/readyz", "/metrics": "/metrics",
}

const profiles = "/debug/pprof/"

func isOwn(p string) bool {
	return own[p] != "" || strings.HasPrefix(p, profiles) && (p == profiles || p == path.Clean(p))
}

// serveOwn answers about health to everybody, and the rest to administrators and to this machine.
func (a *API) serveOwn(w http.ResponseWriter, r *http.Request) {
	name := own[r.URL.Path]
	if err := a.mayOwn(r, name); err != nil {
		a.fail(w, r, err)
		return
	}
	release, ok := a.own.Take("")
	if !ok {
		a.fail(w, r, errBusy)
		return
	}
	defer release()
	if name != "" {
		r = r.Clone(r.Context())
		r.URL.Path = name
	}
	a.Own.ServeHTTP(w, r)
}

func (a *API) mayOwn(r *http.Request, name string) error {
	health := name == "/livez" || name == "/readyz"
	if health || len(r.Header.Values("Authorization")) == 0 && (isLocal(r) || name == "/metrics" && a.fromMetrics(r)) {
		return nil
	}
	id, err := a.Gate.Identify(r)
	if err != nil {
		a.Refused()
		return err
	}
	visitOf(r.Context()).Identity = id
	if !id.Scope.Includes(rdev.ScopeAdmin) {
		return rdev.Errorf(rdev.ErrDenied, "%s has the scope %s, and this needs the scope admin", id.Name, id.Scope)
	}
	return nil
}

// proxied reports whether a proxy sent the request for somebody else.
func proxied(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if len(r.Header.Values(name)) > 0 {
			return true
		}
	}
	return false
}

// isLocal reports whether a request comes from this machine, or pod, itself. The Host must say so too: a
// browser here that follows a name to 127.0.0.1 sends that name (DNS rebinding).
func isLocal(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	named := host == "localhost" || err == nil && ip.IsLoopback()
	from, ok := remote(r)
	return ok && named && from.IsLoopback() && !proxied(r)
}

// fromMetrics reports whether a request comes from a network that may read metrics.
func (a *API) fromMetrics(r *http.Request) bool {
	from, ok := remote(r)
	if !ok || proxied(r) {
		return false
	}
	for _, p := range a.MetricsFrom {
		if p.Contains(from) {
			return true
		}
	}
	return false
}

func remote(r *http.Request) (netip.Addr, bool) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return from.Addr().Unmap(), err == nil
}
