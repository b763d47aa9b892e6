package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"stella/internal/apikey"
	"stella/internal/doctor"
	"stella/internal/incident/book"
	"stella/internal/routes"
	"stella/internal/scanner"
	"stella/internal/store"
)

// kinds is the one table of errors and statuses; docs/http-api.md shows it. The first row that
// an error matches counts; what matches none is 500. text takes the place of
// the error's own, where that is about the server's inside.
var kinds = []struct {
	err    error
	status int
	text   string
}{
	{scanner.ErrInvalid, http.StatusUnprocessableEntity, ""},
	{scanner.ErrSetting, http.StatusUnprocessableEntity, ""},
	{scanner.ErrNotFound, http.StatusNotFound, ""},
	{scanner.ErrConflict, http.StatusConflict, ""},
	{scanner.ErrDenied, http.StatusForbidden, ""},
	{scanner.ErrUnavailable, http.StatusServiceUnavailable, ""},
	{book.ErrNotFound, http.StatusNotFound, ""},
	{book.ErrTooLarge, http.StatusUnprocessableEntity, ""},
	{doctor.ErrNoCheck, http.StatusNotFound, ""},
	{apikey.ErrNoKey, http.StatusUnauthorized, ""},
	{apikey.ErrBadKey, http.StatusUnauthorized, ""},
	{apikey.ErrTooMany, http.StatusTooManyRequests, ""},
	{errBusy, http.StatusTooManyRequests, ""},
	{errTooLarge, http.StatusRequestEntityTooLarge, ""},
	{errBody, http.StatusBadRequest, ""},
	{routes.ErrNoPath, http.StatusNotFound, ""},
	{routes.ErrMethod, http.StatusMethodNotAllowed, ""},
	{store.ErrUnavailable, http.StatusServiceUnavailable, "the server's database does not answer"},
	{store.ErrFull, http.StatusServiceUnavailable, "the disk of the server's database is full"},
}

// retrySeconds is how long a caller who is refused for now is told to wait.
const retrySeconds = "1"

// problem makes a problem of an error. What the caller should not see is logged, and
// the problem says where.
func (a *API) problem(ctx context.Context, err error) *huma.ErrorModel {
	p := &huma.ErrorModel{Status: http.StatusInternalServerError, Detail: "the server failed at this"}
	opaque := true
	for _, k := range kinds {
		if !errors.Is(err, k.err) {
			continue
		}
		p.Status, p.Detail, opaque = k.status, err.Error(), k.text != ""
		if opaque {
			p.Detail = k.text
		}
		break
	}
	p.Title = http.StatusText(p.Status)
	if opaque && ctx.Err() == nil { // else nobody waits for the answer, and that is why
		id := rand.Text()[:12]
		p.Instance = "urn:stella:error:" + id
		p.Detail += "; its log has the cause, as error " + id
		v := visitOf(ctx)
		a.log.Error("request failed", "id", id, "method", v.method, "path", v.path, "error", err)
	}
	return p
}

// refused is the error of an operation, as a problem for huma.
func (a *API) refused(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	p := a.problem(ctx, err)
	return huma.ErrorWithHeaders(p, problemHeaders(p.Status))
}

// fail answers with a problem, or cuts an answer that has begun.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := a.problem(r.Context(), err)
	if begun(w) {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	for name, values := range problemHeaders(p.Status) {
		h[name] = values
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // an error is that the client is gone
}

// problemHeaders are the headers that some statuses need.
func problemHeaders(status int) http.Header {
	h := http.Header{}
	switch status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
		h.Set("Connection", "close") // strangers do not keep connections
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", retrySeconds)
	}
	return h
}
