package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"time"

	"stella/internal/incident"
	"stella/internal/scanner"
	"stella/internal/server/auth"
)

var (
	errBusy     = errors.New("too many requests at a time: wait a moment")
	errTooLarge = errors.New("the body of the request is too large")
	errBody     = errors.New("the body of the request did not come whole")
)

// visit is what is known of a request from its beginning to its line in the log.
type visit struct {
	method, path string
	auth.Identity
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit {
	if v, ok := ctx.Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{}
}

// outside is around everything: a line in the log, and what becomes of a panic.
func (a *API) outside(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		v := &visit{method: r.Method, path: r.URL.EscapedPath()}
		r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
		answer := &answer{ResponseWriter: w}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			a.log.Debug("request", "method", v.method, "path", v.path, "status", answer.status,
				"caller", v.Name, "remote", r.RemoteAddr, "duration", time.Since(start))
		}()
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p) // net/http cuts the answer
			default:
				a.fail(answer, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

// guard lets through who may ask something, not too often, and no more than fits.
func (a *API) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := a.gate.Identify(r)
		if err != nil {
			a.fail(w, r, err)
			return
		}
		visitOf(r.Context()).Identity = id
		if !id.Local && !a.rates.Take(id.Name) {
			a.fail(w, r, errBusy)
			return
		}
		most, release, err := a.bodyLimit(r, id)
		if err != nil {
			w.Header().Set("Connection", "close")
			a.fail(w, r, err)
			return
		}
		defer release()
		if err := readBody(w, r, most); err != nil {
			w.Header().Set("Connection", "close") // the rest of it is not read
			a.fail(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// bodyLimit is how large a request's body may be, in bytes. That of events may be large: for those who may send any, and some at a time.
func (a *API) bodyLimit(r *http.Request, id auth.Identity) (most int64, release func(), err error) {
	if r.Method != http.MethodPost || r.URL.Path != eventsPath {
		return maxBody, func() {}, nil
	}
	if err := allowed(id, scanner.ScopeIncidents); err != nil {
		return 0, nil, err
	}
	release, ok := a.large.Take(id.Name)
	if !ok {
		return 0, nil, errBusy
	}
	return incident.MaxBody, release, nil
}

// readBody reads a request's body of at most so many bytes into memory, in time.
func readBody(w http.ResponseWriter, r *http.Request, most int64) error {
	if r.Body == http.NoBody {
		return nil
	}
	// net/http takes the deadline away at the body's end.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return fmt.Errorf("%w: more than %d bytes", errTooLarge, most)
	case err != nil:
		return fmt.Errorf("%w: %w", errBody, err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// answer is a ResponseWriter that knows whether the answer has begun, and gives
// it a deadline then. Streams set later ones.
type answer struct {
	http.ResponseWriter
	status int // 0 before it has begun
}

func begun(w http.ResponseWriter) bool {
	a, ok := w.(*answer)
	return ok && a.status != 0
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		extend(a.ResponseWriter)
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// extend gives the client another writeTimeout to take what is written next. A writer that
// has no deadlines, in a test, has no slow clients.
func extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}
