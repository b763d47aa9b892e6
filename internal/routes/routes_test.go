package routes_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"stella/internal/routes"
)

func TestStrict(t *testing.T) {
	mux := http.NewServeMux()
	for _, pattern := range []string{"GET /a", "POST /a", "GET /a/{id}"} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, pattern, r.PathValue("id")) })
	}
	for _, test := range []struct {
		method, target string
		want           string // the pattern that answers, with the id
		err            error
		allow          string
	}{
		{"GET", "/a", "GET /a", nil, ""},
		{"HEAD", "/a/7", "GET /a/{id}7", nil, ""},
		{"GET", "/a/7%2F..", "", routes.ErrNoPath, ""}, // not clean as it is read
		{"DELETE", "/a", "", routes.ErrMethod, "GET, HEAD, POST"},
		{"POST", "/a/7", "", routes.ErrMethod, "GET, HEAD"},
		{"GET", "/", "", routes.ErrNoPath, ""},
		{"GET", "/b", "", routes.ErrNoPath, ""},
		{"GET", "/b/../a", "", routes.ErrNoPath, ""},
		{"GET", "//a", "", routes.ErrNoPath, ""},
		{"GET", "/a/", "", routes.ErrNoPath, ""},
		{"DELETE", "/b", "", routes.ErrNoPath, ""},
		{"GET", "/" + strings.Repeat("%FF", 1000), "", routes.ErrNoPath, ""},
	} {
		var failed error
		h := routes.Strict(mux, "the book", func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err })
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(test.method, test.target, nil))
		if !errors.Is(failed, test.err) || test.err == nil && (failed != nil || w.Body.String() != test.want) {
			t.Errorf("%s %.50s: %v, %q", test.method, test.target, failed, w.Body)
		}
		if w.Header().Get("Allow") != test.allow || w.Code != http.StatusOK {
			t.Errorf("%s %.50s: %d, %v", test.method, test.target, w.Code, w.Header())
		}
		if errors.Is(failed, routes.ErrNoPath) && (!strings.Contains(failed.Error(), "the book") || len(failed.Error()) > 300) {
			t.Errorf("%s %.50s: %v", test.method, test.target, failed)
		}
	}
}
