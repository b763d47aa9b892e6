// Package routes lets a service answer for what its http.ServeMux has no pattern for. A mux of its own accord answers
// that in plain text, and redirects from paths that are not clean, which no client of an API asks for.
package routes

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
)

// Why a request has no handler. Their texts are for the caller.
var (
	ErrNoPath = errors.New("the API has no such path")
	ErrMethod = errors.New("this path has other methods")
)

// maxPath is how many characters of a path are told to who asked for it.
const maxPath = 200

// Strict answers requests by the patterns of mux, and all others by fail, with an error that matches [ErrNoPath], or
// [ErrMethod] once the header Allow is set. No pattern may end in a slash: the mux redirects to these. doc is what has all paths, for people.
func Strict(mux *http.ServeMux, doc string, fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		switch {
		case r.URL.Path != path.Clean(r.URL.Path): // which the mux would redirect
			fail(w, r, NoPath(r, doc))
		case pattern == "":
			why := &discarded{header: http.Header{}}
			h.ServeHTTP(why, r)
			if why.status != http.StatusMethodNotAllowed {
				fail(w, r, NoPath(r, doc))
				return
			}
			allow := why.header.Get("Allow")
			w.Header().Set("Allow", allow)
			fail(w, r, fmt.Errorf("%w: %s", ErrMethod, allow))
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// NoPath is the error of a request for a path that is not there.
func NoPath(r *http.Request, doc string) error {
	asked := strings.ToValidUTF8(r.URL.EscapedPath(), "?")
	return fmt.Errorf("%w: %.*s; %s has all of them", ErrNoPath, maxPath, asked, doc)
}

// discarded takes an answer of which only the status and the headers are of interest.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d *discarded) WriteHeader(status int)      { d.status = status }
