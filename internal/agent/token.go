package agent

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"stella/internal/telemetry"
)

// withToken wants a bearer token for all but health, which a kubelet asks for without one. An
// empty token lets everybody in, which is for loopback alone.
func withToken(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if !telemetry.IsHealth(r.URL.Path) && (!ok || subtle.ConstantTimeCompare(want[:], got[:]) != 1) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token of --token-file is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
