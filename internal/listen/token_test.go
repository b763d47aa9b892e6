package listen_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"stella/internal/listen"
)

// Only the whole token lets in; health is for everybody, as a kubelet asks without one.
func TestToken(t *testing.T) {
	const goodToken = "0123456789abcdef0123456789abcdef"
	health := func(path string) bool { return path == "/livez" || path == "/readyz" }
	handler := listen.WithToken(goodToken, health, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") }))
	for _, c := range []struct {
		path, authorization string
		in                  bool
	}{
		{"/metrics", "Bearer " + goodToken, true},
		{"/metrics", "", false},
		{"/metrics", "Bearer ", false},
		{"/metrics", goodToken, false},
		{"/metrics", "Basic " + goodToken, false},
		{"/metrics", "Bearer " + goodToken[1:], false},
		{"/metrics", "Bearer " + goodToken + "0", false},
		{"/metrics", "Bearer " + strings.ToUpper(goodToken), false},
		{"/metrics", "Bearer " + strings.Repeat("x", 10_000), false},
		{"/debug/pprof/heap", "", false},
		{"/livez/../metrics", "", false},
		{"/livez", "", true},
		{"/readyz", "", true},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil)
		r.Header.Set("Authorization", c.authorization)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if in := w.Code == http.StatusOK && w.Body.String() == "in"; in != c.in {
			t.Errorf("%s with %.60q: %d", c.path, c.authorization, w.Code)
		} else if !in && (w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer") {
			t.Errorf("%s with %.60q: %d %v", c.path, c.authorization, w.Code, w.Header())
		}
	}
	open := listen.WithToken("", health, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") }))
	w := httptest.NewRecorder()
	if open.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)); w.Code != http.StatusOK {
		t.Errorf("without a token on loopback: %d", w.Code)
	}
}
