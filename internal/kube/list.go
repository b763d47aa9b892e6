package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"
)

// List calls each with all objects that a query chooses. It ends with the first error of each, as it is. Before that, some
// objects may have been given already.
func List[T any](ctx context.Context, c *Client, q Query, each func(*T) error) error {
	_, err := list(ctx, c, q, "", each)
	return err
}

// list is List that returns the version of the cluster at which the list is true. version is "" for
// the newest, or "0" for any that the server has at hand.
func list[T any](ctx context.Context, c *Client, q Query, version string, each func(*T) error) (string, error) {
	params := q.params()
	params.Set("limit", strconv.Itoa(pageSize))
	if version != "" {
		params.Set("resourceVersion", version)
	}
	for {
		meta, err := page(ctx, c, q, params, each)
		if err != nil || meta.Continue == "" {
			return meta.ResourceVersion, err
		}
		if params.Get("continue") == meta.Continue {
			return "", fmt.Errorf("list %s: the server gives the same page again and again", q)
		}
		params.Del("resourceVersion") // the next page is of the same one
		params.Set("continue", meta.Continue)
	}
}

func (q Query) params() url.Values {
	params := url.Values{}
	if q.Labels != "" {
		params.Set("labelSelector", q.Labels)
	}
	if q.Fields != "" {
		params.Set("fieldSelector", q.Fields)
	}
	return params
}

// listMeta is what a list says of itself.
type listMeta struct {
	ResourceVersion string `json:"resourceVersion"`
	Continue        string `json:"continue"`
}

// page asks for one page.
func page[T any](ctx context.Context, c *Client, q Query, params url.Values, each func(*T) error) (listMeta, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body, err := c.get(ctx, q.Resource.path(q.Namespace, ""), params, accept(q.Metadata, "PartialObjectMetadataList"))
	if err != nil {
		return listMeta{}, fmt.Errorf("list %s: %w", q, err)
	}
	defer body.Close()
	// A server that stops in the middle would hold us for ever.
	idle := errors.New("nothing came from the server for " + idleTimeout.String())
	timer := time.AfterFunc(idleTimeout, func() { cancel(idle) })
	defer timer.Stop()
	p := parser[T]{in: &budget{r: watched{body, timer}}}
	meta, err := p.list(each)
	var stopped stop
	switch {
	case err == nil:
		return meta, nil
	case errors.As(err, &stopped):
		return meta, stopped.error
	case errors.Is(context.Cause(ctx), idle):
		err = idle
	}
	return meta, fmt.Errorf("list %s: %w", q, err)
}

// watched starts a timer anew whenever something comes.
type watched struct {
	r     io.Reader
	timer *time.Timer
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.timer.Reset(idleTimeout)
	return n, err
}

// stop is an error of the caller's function.
type stop struct{ error }

// parser reads a list one object at a time, so that what it holds is one object.
type parser[T any] struct {
	in *budget
	d  *json.Decoder
}

func (p *parser[T]) list(each func(*T) error) (meta listMeta, err error) {
	p.d = json.NewDecoder(p.in)
	if err := p.open('{'); err != nil {
		return meta, err
	}
	items := false
	for p.more() {
		key, err := p.d.Token()
		if err != nil {
			return meta, err
		}
		switch key {
		case "metadata":
			err = p.d.Decode(&meta)
		case "items":
			items = true
			err = p.items(each)
		default:
			var skipped json.RawMessage
			err = p.d.Decode(&skipped)
		}
		if err != nil {
			return meta, err
		}
	}
	if _, err := p.d.Token(); err != nil {
		return meta, early(err)
	}
	if !items {
		return meta, errors.New("the answer is no list")
	}
	return meta, nil
}

func (p *parser[T]) items(each func(*T) error) error {
	switch token, err := p.d.Token(); {
	case err != nil:
		return early(err)
	case token == nil:
		return nil // null: an empty list
	case token != json.Delim('['):
		return errors.New("the answer's items are no list")
	}
	for p.more() {
		object := new(T)
		if err := p.d.Decode(object); err != nil {
			return early(err)
		}
		if err := each(object); err != nil {
			return stop{err}
		}
	}
	_, err := p.d.Token()
	return early(err)
}

// more reports whether the array or object goes on, and allows another object's bytes.
func (p *parser[T]) more() bool {
	p.in.next(p.d)
	return p.d.More()
}

func (p *parser[T]) open(want json.Delim) error {
	p.in.next(p.d)
	token, err := p.d.Token()
	if err != nil {
		return early(err)
	}
	if token != want {
		return errors.New("the answer is no JSON object")
	}
	return nil
}

// early makes the end of an answer in the middle an error that says so.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
