package client

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"

	"stella/internal/rdev"
)

// rdevComebacks are, with the pauses between them, for one to two minutes: an rdev-api that is stopped has 45 s for it,
// in which it takes nobody in, and its successor begins then.
const rdevComebacks = 60

var rdevAPI = peer{
	name: "rdev-api", start: "start one with rdev-api or stella up, or give the address of one that runs", refused: refusedByRdev, comebacks: rdevComebacks,
}

// refusedByRdev makes the error of a status; nil where that says nothing about the request. It is the inverse of the
// server's table.
func refusedByRdev(status int, text string) error {
	var kind error
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		kind = rdev.ErrInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		kind = rdev.ErrDenied
	case http.StatusNotFound:
		kind = rdev.ErrNotFound
	case http.StatusConflict:
		kind = rdev.ErrConflict
	case http.StatusGone:
		kind = rdev.ErrGone
	case http.StatusTooManyRequests:
		kind = rdev.ErrTooMany
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		kind = rdev.ErrUnavailable
	default:
		return nil
	}
	return &rdev.Error{Kind: kind, Message: text}
}

// Rdev talks to one rdev-api. It may be used by several goroutines. Its errors match those of package rdev.
type Rdev struct{ c *Client }

// NewRdev makes a client of an rdev-api. It does not connect: the first request does.
func NewRdev(o Options) (*Rdev, error) {
	c, err := dial(o, rdevAPI)
	if err != nil {
		return nil, err
	}
	return &Rdev{c}, nil
}

// Close closes connections that are not in use.
func (r *Rdev) Close() { r.c.Close() }

// Projects returns what there is to run commands in.
func (r *Rdev) Projects(ctx context.Context) (rdev.ProjectList, error) {
	var list rdev.ProjectList
	err := r.c.call(ctx, get("/v1/projects", nil), &list)
	return list, err
}

// Run asks for a command and returns it, which may be queued. It may be sent more than once, and runs once.
func (r *Rdev) Run(ctx context.Context, project string, q rdev.Request) (rdev.Command, error) {
	var c rdev.Command
	err := r.c.call(ctx, request{method: http.MethodPost, path: commandsPath(project), body: q, once: rand.Text(), again: true}, &c)
	return c, err
}

// Command returns one command.
func (r *Rdev) Command(ctx context.Context, project, id string) (rdev.Command, error) {
	var c rdev.Command
	err := r.c.call(ctx, get(commandPath(project, id), nil), &c)
	return c, err
}

// Commands returns a page of the commands of one project, or of all, newest first.
func (r *Rdev) Commands(ctx context.Context, f rdev.Filter) (rdev.CommandList, error) {
	q := url.Values{}
	set(q, "status", string(f.Status))
	set(q, "by", f.By)
	set(q, "after", f.After)
	setTime(q, "since", f.Since)
	setInt(q, "limit", int64(f.Limit))
	var list rdev.CommandList
	path := "/v1/commands"
	if f.Project != "" {
		path = commandsPath(f.Project)
	}
	err := r.c.call(ctx, get(path, q), &list)
	return list, err
}

// Cancel ends a command and returns it as it is then: one that runs is being ended, and one that had ended stays as it was.
func (r *Rdev) Cancel(ctx context.Context, project, id string) (rdev.Command, error) {
	var c rdev.Command
	err := r.c.call(ctx, request{method: http.MethodDelete, path: commandPath(project, id), again: true}, &c)
	return c, err
}

// Keys returns the API keys.
func (r *Rdev) Keys(ctx context.Context) ([]rdev.Key, error) {
	var list rdev.KeyList
	err := r.c.call(ctx, get("/v1/keys", nil), &list)
	return list.Keys, err
}

// CreateKey makes an API key; its secret is in this answer alone.
func (r *Rdev) CreateKey(ctx context.Context, q rdev.KeyRequest) (rdev.NewKey, error) {
	var key rdev.NewKey
	err := r.c.call(ctx, request{method: http.MethodPost, path: "/v1/keys", body: q}, &key)
	return key, err
}

// RotateKey gives an API key another secret.
func (r *Rdev) RotateKey(ctx context.Context, name string, q rdev.RotateRequest) (rdev.NewKey, error) {
	var key rdev.NewKey
	err := r.c.call(ctx, request{method: http.MethodPost, path: "/v1/keys/" + url.PathEscape(name) + "/rotate", body: q}, &key)
	return key, err
}

// RevokeKey removes an API key.
func (r *Rdev) RevokeKey(ctx context.Context, name string) error {
	return r.c.call(ctx, request{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(name)}, nil)
}

func commandsPath(project string) string {
	return "/v1/projects/" + url.PathEscape(project) + "/commands"
}

func commandPath(project, id string) string { return commandsPath(project) + "/" + url.PathEscape(id) }
