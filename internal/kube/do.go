package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Request is for one object.
type Request struct {
	// Method is GET; POST, which makes the object; PUT, which replaces it; PATCH, which merges Body into it (RFC 7396), or does what it
	// says where it is [Operations]; or DELETE.
	Method string
	// Query says of what resource and namespace the object is; its selectors are not used.
	Query Query
	// Name is empty for POST. Below is a subresource of it, such as status, if that is meant.
	Name, Below string
	// Body is what is sent, as JSON; nil is nothing.
	Body any
	// DryRun has the server do all but keep the change.
	DryRun bool
	// Manager is whose change the server takes it for (metadata.managedFields); "" is by the user agent.
	Manager string
}

// Operations are a patch as of RFC 6902: all of them are done, or none.
type Operations []Operation

// Operation is one of them. Op is add, remove, replace or test.
type Operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Moment is when a server answered, by its clock and by ours. The server's is told in whole seconds, and is zero where the answer has no Date:
// then nothing is known of its clock.
type Moment struct {
	Server         time.Time
	Sent, Received time.Time // ours, with monotonic readings
}

// Earliest and Latest are what the server's clock shows at a time of ours after the answer, at least and at most: whatever ours shows, and
// however long the answer took. now has to be of [time.Now], for the clock that nobody sets. That one stands still while the machine
// sleeps, so that after a sleep only Earliest is true.
func (m Moment) Earliest(now time.Time) time.Time { return m.Server.Add(now.Sub(m.Received)) }

// Latest is described at [Moment.Earliest].
func (m Moment) Latest(now time.Time) time.Time {
	return m.Server.Add(time.Second + now.Sub(m.Sent))
}

// Do makes a request and reads the object that is the answer into a T. An answer that is no whole object of that kind and name is an error. A
// change for which there is an error may have been made, unless it is a [*StatusError] whose code is below 500: whoever must know asks again.
func Do[T any](ctx context.Context, c *Client, r Request) (*T, Moment, error) {
	object, m, err := do[T](ctx, c, r)
	if err != nil {
		return nil, m, fmt.Errorf("%s: %w", r, err)
	}
	return object, m, nil
}

func (r Request) String() string {
	s := r.Method + " "
	if r.Name != "" {
		s += r.Name + " "
	}
	if r.Below != "" {
		s += "(" + r.Below + ") "
	}
	return s + "of the " + r.Query.String()
}

func do[T any](ctx context.Context, c *Client, r Request) (*T, Moment, error) {
	if r.Name == "" && r.Method != http.MethodPost {
		return nil, Moment{}, errors.New("the request names no object")
	}
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = json.Marshal(r.Body); err != nil {
			return nil, Moment{}, err
		}
	}
	var m Moment
	answer, err := c.again(func(fresh bool) (*http.Response, error) {
		request, err := c.request(ctx, r.path(), r.params(), fresh)
		if err != nil {
			return nil, err
		}
		request.Method = r.Method
		request.Header.Set("Accept", accept(r.Query.Metadata, "PartialObjectMetadata"))
		if body != nil {
			setBody(request, body)
			request.Header.Set("Content-Type", "application/json")
			if r.Method == http.MethodPatch {
				request.Header.Set("Content-Type", r.patchType())
			}
		}
		m.Sent = time.Now()
		answer, err := c.http.Do(request)
		m.Received = time.Now()
		return answer, err
	})
	if err != nil {
		return nil, m, err
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return nil, m, readStatus(answer)
	}
	if m.Server, err = http.ParseTime(answer.Header.Get("Date")); err != nil {
		m.Server = time.Time{}
	}
	object, err := readObject[T](answer.Body, r)
	if err != nil && ctx.Err() != nil { // a connection that is closed for this has errors of its own
		err = ctx.Err()
	}
	return object, m, err
}

// readObject reads the object that is the answer to a request. One that is about another object is worse than none: what it lacks, such as
// a hold on a node, would be taken for what the right one lacks.
func readObject[T any](in io.Reader, r Request) (*T, error) {
	d := json.NewDecoder(&budget{r: in, upTo: MaxObject})
	var text json.RawMessage
	if err := d.Decode(&text); err != nil {
		return nil, fmt.Errorf("the server's answer: %w", early(err))
	}
	if err := ended(d); err != nil {
		return nil, err
	}
	kind, name := envelope(text)
	switch want := r.Query.kind(); {
	case kind == "":
		return nil, errors.New("the answer is no object of the API: it has no kind")
	case r.Method == http.MethodDelete || r.Below != "": // a Status, or what the subresource is
	case want != "" && kind != want:
		return nil, fmt.Errorf("the answer is of kind %.100q, and should be a %s", kind, want)
	case r.Name != "" && name != r.Name:
		return nil, fmt.Errorf("the answer is the object %.100q", name)
	}
	object := new(T)
	if err := json.Unmarshal(text, object); err != nil {
		return nil, fmt.Errorf("the server's answer: %w", err)
	}
	return object, nil
}

// envelope is what an object calls itself, "" where it does not. A struct would take these fields by names in any case.
func envelope(text []byte) (kind, name string) {
	var object, metadata map[string]json.RawMessage
	_ = json.Unmarshal(text, &object)
	_ = json.Unmarshal(object["kind"], &kind)
	_ = json.Unmarshal(object["metadata"], &metadata)
	_ = json.Unmarshal(metadata["name"], &name)
	return kind, name
}

func (r Request) path() string {
	path := r.Query.Resource.path(r.Query.Namespace, r.Name)
	if r.Below != "" {
		path += "/" + url.PathEscape(r.Below)
	}
	return path
}

func (r Request) params() url.Values {
	values := url.Values{}
	if r.DryRun {
		values.Set("dryRun", "All")
	}
	if r.Manager != "" {
		values.Set("fieldManager", r.Manager)
	}
	return values
}

func (r Request) patchType() string {
	if _, ok := r.Body.(Operations); ok {
		return "application/json-patch+json"
	}
	return "application/merge-patch+json"
}

// setBody gives a request a body that it can be sent with again.
func setBody(r *http.Request, body []byte) {
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
}
