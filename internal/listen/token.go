package listen

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// minToken is the fewest characters of a token that cannot be guessed.
const minToken = 32

// ReadToken reads the token of a daemon's --token-file, which its --admin listener must have where it can be reached from other machines. It is empty where
// there is none, and none is needed.
func ReadToken(file, admin string) (string, error) {
	if file == "" {
		if !Loopback(admin) {
			return "", fmt.Errorf("--admin %s can be reached from other machines: give --token-file, a file with a token of at least %d characters that Prometheus sends as its bearer token", admin, minToken)
		}
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minToken {
		return "", fmt.Errorf("--token-file %s: a token of %d characters can be guessed; make one of at least %d, for instance with: openssl rand -hex 32", file, len(token), minToken)
	}
	return token, nil
}

// WithToken wants a bearer token for all but the paths that are free, such as health, which a kubelet asks for without one. An
// empty token lets everybody in, which is for loopback alone.
func WithToken(token string, free func(path string) bool, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if !free(r.URL.Path) && (!ok || subtle.ConstantTimeCompare(want[:], got[:]) != 1) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the token of --token-file is needed", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
