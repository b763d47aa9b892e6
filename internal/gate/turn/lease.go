package turn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// ReleasedAnnotation is on the Lease while nobody has the turn: a time, by the API server's clock, before which the last turn ended.
const ReleasedAnnotation = "gate.stella/released"

const (
	// dateUnit is what the Date of an HTTP answer is told in (RFC 9110, section 5.6.7).
	dateUnit = time.Second
	// maxSkew is how far the clocks of API servers may be apart. A turn that ended later than that from now ended before somebody
	// set the clocks back, and when that was cannot be known: it counts from now.
	maxSkew = time.Minute
	// micro is how a Lease has times: with six digits after the second, neither more nor fewer.
	micro = "2006-01-02T15:04:05.000000Z07:00"
)

var errNoClock = errors.New("the answer of the API server has no Date")

// lease is what a Lease has that matters here, as it was at a time.
type lease struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name        string            `json:"name"`
		Version     string            `json:"resourceVersion"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Holder      string    `json:"holderIdentity"`
		Acquired    time.Time `json:"acquireTime"`
		Renewed     time.Time `json:"renewTime"`
		Transitions int       `json:"leaseTransitions"`
	} `json:"spec"`

	// now is when the API server answered so, by its clock: then, or up to a dateUnit later.
	now time.Time
}

// released is a time before which the last turn ended. It is false where nothing, or nothing that can be so, is written down.
func (l *lease) released() (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, l.Metadata.Annotations[ReleasedAnnotation])
	return at, err == nil && !at.After(l.now.Add(dateUnit+maxSkew))
}

// change is a merge patch (RFC 7396) of a Lease; nil removes.
type change struct {
	holder string // that the Lease has afterwards
	spec   map[string]any
	// released is the value of the annotation. Whoever has the turn removes it, so that it never is that of an earlier turn.
	released any
}

// taken makes node the holder.
func (l *lease) taken(node string) change {
	return change{node, map[string]any{
		"holderIdentity": node, "acquireTime": l.now.Format(micro), "renewTime": l.now.Format(micro), "leaseTransitions": l.Spec.Transitions + 1,
	}, nil}
}

// renewed changes nothing but the time of it, and that always: the API server gives no new version to what stays the same.
func (l *lease) renewed() change {
	at := l.now
	if least := l.Spec.Renewed.Add(time.Microsecond); at.Before(least) {
		at = least
	}
	return change{l.Spec.Holder, map[string]any{"renewTime": at.Format(micro)}, nil}
}

// ended makes nobody the holder. When that was, is known only from its answer.
func (*lease) ended() change {
	return change{"", map[string]any{"holderIdentity": nil, "acquireTime": nil, "renewTime": nil}, nil}
}

// free writes down that the turn, which nobody has, ended before now.
func (l *lease) free() change {
	return change{"", nil, stamp(l.now.Add(dateUnit))}
}

// leases is where the Lease is.
type leases struct {
	client    *kube.Client
	namespace string
}

func (s leases) read(ctx context.Context) (*lease, error) {
	return s.do(ctx, kube.Request{Method: http.MethodGet, Name: gate.LeaseName})
}

// create makes the Lease. Whether there was one before, and who had it, is not known: it is like one whose turn ended now.
func (s leases) create(ctx context.Context) (*lease, error) {
	return s.do(ctx, kube.Request{Method: http.MethodPost, Body: map[string]any{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
		"metadata": map[string]any{"name": gate.LeaseName, "namespace": s.namespace}, "spec": map[string]any{},
	}})
}

// change changes the Lease, if it still is what was read.
func (s leases) change(ctx context.Context, l *lease, c change) (*lease, error) {
	body := map[string]any{"metadata": map[string]any{
		"resourceVersion": l.Metadata.Version, "annotations": map[string]any{ReleasedAnnotation: c.released},
	}}
	if c.spec != nil {
		body["spec"] = c.spec
	}
	after, err := s.do(ctx, kube.Request{Method: http.MethodPatch, Name: gate.LeaseName, Body: body})
	switch {
	case err != nil:
		return nil, err
	case after.Metadata.Version == l.Metadata.Version || after.Spec.Holder != c.holder:
		return nil, errors.New("the API server answered, but did not make the change")
	}
	return after, nil
}

// end ends the holder's turn, and writes down when.
func (s leases) end(ctx context.Context, l *lease) (*lease, error) {
	l, err := s.change(ctx, l, l.ended())
	if err != nil {
		return nil, err
	}
	if after, err := s.change(ctx, l, l.free()); err == nil {
		return after, nil
	}
	return l, nil // whoever wants the turn next writes it down, and waits from then
}

// do makes a request, and takes no answer that is not the Lease, with a time.
func (s leases) do(ctx context.Context, r kube.Request) (*lease, error) {
	r.Query = kube.Query{Resource: kube.Leases, Namespace: s.namespace}
	l, moment, err := kube.Do[lease](ctx, s.client, r)
	switch {
	case err != nil:
		return nil, err
	case l.Kind != "Lease" || l.Metadata.Name != gate.LeaseName || l.Metadata.Version == "":
		return nil, fmt.Errorf("the answer about the Lease %s in namespace %s is none: it is a %q named %.64q", gate.LeaseName, s.namespace, l.Kind, l.Metadata.Name)
	case moment.Server.IsZero():
		return nil, errNoClock
	}
	l.now = moment.Server.UTC()
	return l, nil
}

// gone reports whether an API server, and not some proxy before it, says that there is no such object.
func gone(err error) bool {
	var status *kube.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound && status.Reason == "NotFound"
}

// stamp is a time for people, and for the annotation.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
