package api

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"stella/internal/rdev/keys"
)

// visit is what is known of a request from its beginning to its line in the log.
type visit struct {
	method, path string
	keys.Identity
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
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox") // output is never a page
		defer func() {
			a.Answered(answer.status)
			a.Log.Debug("request", "method", v.method, "path", v.path, "status", answer.status,
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

// guard lets through who may ask something, and not too often.
func (a *API) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isOwn(r.URL.Path) {
			a.serveOwn(w, r)
			return
		}
		if err := a.crossing.Check(r); err != nil {
			a.fail(w, r, fmt.Errorf("%w: %w", errCrossing, err))
			return
		}
		id, err := a.Gate.Identify(r)
		if err != nil {
			a.Refused()
			a.fail(w, r, err)
			return
		}
		visitOf(r.Context()).Identity = id
		if !id.Local && !a.rates.Take(id.Name) {
			a.fail(w, r, errBusy)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// answer is a ResponseWriter that knows whether the answer has begun, and gives each write a deadline.
type answer struct {
	http.ResponseWriter
	status int // 0 before it has begun, and for streams
}

func begun(w http.ResponseWriter) bool {
	a, ok := w.(*answer)
	return ok && a.status != 0
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.extend()
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	a.extend()
	return a.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// extend gives the client another writeTimeout to take what is written next. A writer that has no deadlines, in a
// test, has no slow clients.
func (a *answer) extend() {
	_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTimeout))
}
