package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// maxPages bounds a list whose pages lead in a circle: two million objects, more than a server has of a kind.
const maxPages = 4_000

// kinds are what objects call themselves. A list calls itself by the same with List behind it.
var kinds = map[Resource]string{
	Pods: "Pod", Nodes: "Node", Events: "Event", ReplicaSets: "ReplicaSet", Jobs: "Job", DaemonSets: "DaemonSet", Leases: "Lease",
	Deployments: "Deployment", StatefulSets: "StatefulSet", CronJobs: "CronJob", SelfReviews: "SelfSubjectReview",
	Claims: "PersistentVolumeClaim", Budgets: "PodDisruptionBudget", {"storage.k8s.io", "v1", "storageclasses"}: "StorageClass",
}

// kind is what an answer has to call itself; "" where we do not know the resource.
func (q Query) kind() string {
	if q.Metadata {
		return "PartialObjectMetadata"
	}
	return kinds[q.Resource]
}

// List calls each with all objects that a query chooses. It ends with the first error of each, as it is. Before any error, some
// objects may have been given already. No error means that all objects were given: an answer that is no whole list of
// that kind is an error, an empty one is not.
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
	for range maxPages {
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
	return "", fmt.Errorf("list %s: the server gives more than %d pages", q, maxPages)
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
	Kind            string
	ResourceVersion string
	Continue        string
	// Remaining is how many objects are on later pages, where the server counted them.
	Remaining int64
}

// check says whether a list is what was asked for.
func (m *listMeta) check(q Query) error {
	want := q.kind() + "List"
	switch {
	case m.Kind != want && (q.kind() != "" || !strings.HasSuffix(m.Kind, want)):
		return fmt.Errorf("the answer is of kind %.100q, and should be a %s", m.Kind, want)
	case m.Continue == "" && m.Remaining > 0:
		return fmt.Errorf("the answer leaves out %d objects, and does not say where they are", m.Remaining)
	}
	return nil
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
	idle := fmt.Errorf("nothing came from the server for %v: %w", idleTimeout, os.ErrDeadlineExceeded)
	timer := time.AfterFunc(idleTimeout, func() { cancel(idle) })
	defer timer.Stop()
	p := parser[T]{in: &budget{r: watched{body, timer}}, nothing: q.Metadata}
	meta, err := p.list(each)
	if err == nil {
		err = meta.check(q)
	}
	var stopped stop
	switch {
	case err == nil:
		return meta, nil
	case errors.As(err, &stopped):
		return meta, stopped.error
	case ctx.Err() != nil: // a connection that is closed for this has errors of its own
		err = context.Cause(ctx)
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
	// nothing allows items to be null, as a server writes an empty list of metadata. Other lists it never writes so:
	// k8s.io/apiserver v0.35.4, pkg/storage/etcd3/store.go, "never return a nil Items pointer".
	nothing bool
}

// list reads the document, up to its end.
func (p *parser[T]) list(each func(*T) error) (meta listMeta, err error) {
	p.d = json.NewDecoder(p.in)
	items := false
	err = p.object(func(key string) error {
		switch key {
		case "kind":
			return p.d.Decode(&meta.Kind)
		case "metadata":
			return p.object(meta.member(p.d))
		case "items":
			items = true
			return p.items(each)
		}
		return skip(p.d)
	})
	if err != nil {
		return meta, err
	}
	if !items {
		return meta, errors.New("the answer is no list")
	}
	p.in.next(p.d)
	return meta, ended(p.d)
}

// member reads a member of a list's metadata.
func (m *listMeta) member(d *json.Decoder) func(key string) error {
	return func(key string) error {
		switch key {
		case "resourceVersion":
			return d.Decode(&m.ResourceVersion)
		case "continue":
			return d.Decode(&m.Continue)
		case "remainingItemCount":
			return d.Decode(&m.Remaining)
		}
		return skip(d)
	}
}

// object reads an object member by member. One that comes twice is an error: it is not known which of them is meant.
func (p *parser[T]) object(member func(key string) error) error {
	p.in.next(p.d)
	if token, err := p.d.Token(); err != nil {
		return early(err)
	} else if token != json.Delim('{') {
		return errors.New("the answer is no JSON object")
	}
	seen := map[string]bool{}
	for p.more() {
		token, err := p.d.Token()
		if err != nil {
			return early(err)
		}
		key, _ := token.(string)
		if seen[key] {
			return fmt.Errorf("the answer has two members %.100q", key)
		}
		if len(seen) >= maxMembers {
			return fmt.Errorf("the answer has more than %d members", maxMembers)
		}
		seen[key] = true
		if err := member(key); err != nil {
			return early(err)
		}
	}
	_, err := p.d.Token()
	return early(err)
}

// maxMembers bounds the members of a list besides its items: a list has four, its metadata too.
const maxMembers = 64

func (p *parser[T]) items(each func(*T) error) error {
	switch token, err := p.d.Token(); {
	case err != nil:
		return early(err)
	case token == nil && p.nothing:
		return nil
	case token != json.Delim('['):
		return errors.New("the answer's items are no list")
	}
	for p.more() {
		object := new(T)
		if err := p.d.Decode(&object); err != nil {
			return early(err)
		}
		if object == nil {
			return errors.New("an item is null")
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

// skip reads a value, and drops it.
func skip(d *json.Decoder) error {
	var skipped json.RawMessage
	return d.Decode(&skipped)
}

// ended says whether nothing follows what was read.
func ended(d *json.Decoder) error {
	switch _, err := d.Token(); {
	case err == nil:
		return errors.New("the answer goes on behind its end")
	case err != io.EOF:
		return fmt.Errorf("behind the end of the answer: %w", err)
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
