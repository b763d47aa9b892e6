package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"stella/internal/routes"
	"stella/internal/scanner"
	"stella/internal/server/auth"
)

const (
	keyScheme = "key"
	// isStream is in the metadata of operations whose answers are streamed.
	isStream = "stream"
)

// operation begins the description of an operation. Its ID is for generated clients.
func operation(scope scanner.Scope, method, path, id, summary string) huma.Operation {
	return huma.Operation{
		OperationID:     id,
		Method:          method,
		Path:            path,
		Summary:         summary,
		Security:        []map[string][]string{{keyScheme: {string(scope)}}},
		Errors:          []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable},
		Metadata:        map[string]any{},
		MaxBodyBytes:    maxBody,
		BodyReadTimeout: -1, // the guard has read it
	}
}

// body is an answer in JSON.
type body[T any] struct{ Body T }

// register adds an operation that answers in JSON. h gets who asks.
func register[I, O any](a *API, o huma.Operation, h func(ctx context.Context, by scanner.Caller, in *I) (O, error)) {
	o.Middlewares = huma.Middlewares{a.admit}
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*body[O], error) {
		out, err := h(ctx, visitOf(ctx).Caller, in)
		if err != nil {
			return nil, a.refused(ctx, err)
		}
		return &body[O]{out}, nil
	})
}

// registerSilent adds an operation whose answer is that it was done.
func registerSilent[I any](a *API, o huma.Operation, h func(ctx context.Context, by scanner.Caller, in *I) error) {
	o.Middlewares = huma.Middlewares{a.admit}
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*struct{}, error) {
		return nil, a.refused(ctx, h(ctx, visitOf(ctx).Caller, in))
	})
}

// streamed is an answer that a function writes.
type streamed struct{ Body func(huma.Context) }

// registerStream adds an operation that writes its answer itself, in one of these
// media types. An error of h becomes a problem, or cuts the answer where it has begun.
func registerStream[I any](a *API, o huma.Operation, types []string, h func(w http.ResponseWriter, r *http.Request, in *I) error) {
	o.Middlewares = huma.Middlewares{a.admit}
	o.Metadata[isStream] = true
	content := map[string]*huma.MediaType{}
	for _, t := range types {
		content[t] = &huma.MediaType{}
	}
	o.Responses = map[string]*huma.Response{"200": {Description: http.StatusText(http.StatusOK), Content: content}}
	huma.Register(a.huma, o, func(_ context.Context, in *I) (*streamed, error) {
		return &streamed{func(c huma.Context) {
			r, w := humago.Unwrap(c)
			err := routes.ErrMethod
			if r.Method == http.MethodGet { // a HEAD would wait for the end of what it does not want
				err = h(w, r, in)
			}
			if err != nil {
				a.fail(w, r, err)
			}
		}}, nil
	})
}

// admit lets an operation begin for who has its scope, when there is a slot for it.
func (a *API) admit(c huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(c)
	who, op := visitOf(r.Context()), c.Operation()
	want := scanner.Scope(op.Security[0][keyScheme][0])
	if err := allowed(who.Identity, want); err != nil {
		a.fail(w, r, err)
		return
	}
	slots := a.requests
	if op.Metadata[isStream] != nil {
		slots = a.streams
	}
	release, ok := slots.Take(who.Name)
	if !ok {
		a.fail(w, r, errBusy)
		return
	}
	defer release()
	next(c)
}

// allowed reports that somebody lacks a scope.
func allowed(who auth.Identity, want scanner.Scope) error {
	if who.Scope.Includes(want) {
		return nil
	}
	return scanner.Errorf(scanner.ErrDenied, "%s has the scope %s, and this needs the scope %s", who.Name, who.Scope, want)
}

// list is a list that is [] in JSON where there is nothing.
func list[T any](all []T, err error) ([]T, error) {
	if all == nil {
		all = []T{}
	}
	return all, err
}

// last is the time that has just passed, as a parameter.
type last struct {
	Last string `query:"last" doc:"only what happened in this time, such as 1h; empty is all that is kept" maxLength:"32"`
}

func (l last) duration() (time.Duration, error) {
	if l.Last == "" {
		return 0, nil
	}
	var d scanner.Duration
	if err := d.UnmarshalText([]byte(l.Last)); err != nil {
		return 0, scanner.Errorf(scanner.ErrInvalid, "last: %w", err)
	}
	return time.Duration(d), nil
}
