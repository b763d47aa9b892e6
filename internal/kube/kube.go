// Package kube talks to a Kubernetes API server in memory that does not depend on the
// cluster.
//
// Words: a [Config] says where the server is and who we are: from a kubeconfig ([Kubeconfig]), or from
// the service account of the pod that this runs in ([InCluster]). A [Resource] is a kind of objects. [List] gives those that a
// [Query] chooses one after another, and [Watch] all of them and then each change. Both decode
// an object into a struct of the caller's, which has the fields that the caller wants and
// no others; [Pod], [Node], [NodeEvent] and [Owned] are such structs.
//
// Why not client-go: its loader of configurations and its connection alone, without any
// typed client, cost 3.9 MiB of resident memory and 3.7 MB of binary (v0.37.2, against the same request made by this
// package), and its lists hold all objects at once.
//
// Hazards:
//
//   - Objects come while the answer is read: a callback that takes more than the minute that an API server gives a
//     request breaks the list off.
//   - A list takes several requests. If it takes minutes, the server forgets where it was, which is
//     [ErrExpired]: the caller begins anew. [Watch] does so itself, and says so.
//   - A watch can miss changes, when the server forgot them. Then all objects are told again, and
//     what is not told again is gone: see [Reset].
//   - A program named in a kubeconfig is run, as kubectl runs it. Take no kubeconfig from strangers.
package kube

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// MaxObject bounds one object, in bytes of JSON: the API server takes no larger ones (3 MiB a request).
	MaxObject = 3 << 20
	// maxError bounds the text of an error that is read. A Status has some hundred bytes.
	maxError = 64 << 10
	// pageSize is how many objects one request is for. What is held does not depend on it; it is
	// what kubectl asks for.
	pageSize = 500

	dialTimeout = 10 * time.Second
	// headerTimeout bounds how long the server thinks. It gives itself a minute.
	headerTimeout = 70 * time.Second
	// idleTimeout bounds how long nothing comes in the middle of a list.
	idleTimeout = 30 * time.Second
	// pingAfter and pingTimeout find out that a server is gone which never said so.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
	// window bounds what the server may send before it is read, for each list or watch. net/http's own is
	// 4 MiB, which would all be held where the server is faster than the caller.
	window = 128 << 10
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotFound  = errors.New("there is no such object")
	ErrForbidden = errors.New("the server does not allow it")
	// ErrConflict says that the object is there already, or was changed since it was read.
	ErrConflict = errors.New("somebody else changed it meanwhile")
	// ErrExpired says that the server forgot what a request refers to: begin anew.
	ErrExpired = errors.New("the server has no state as old as that any more")
	// ErrTooLarge says that an object has more than [MaxObject] bytes.
	ErrTooLarge = fmt.Errorf("an object of more than %d bytes", MaxObject)
)

// StatusError is an answer that is an error.
type StatusError struct {
	Code int
	// Reason is the word that Kubernetes has for it, "" where the answer did not come from an API server.
	Reason  string
	Message string
	// RetryAfter is how long the server asks to be left alone.
	RetryAfter time.Duration
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("HTTP status %d %s", e.Code, http.StatusText(e.Code))
	}
	return fmt.Sprintf("%s (HTTP status %d)", e.Message, e.Code)
}

// Is tells the errors above apart.
func (e *StatusError) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Code == http.StatusNotFound
	case ErrForbidden:
		return e.Code == http.StatusForbidden
	case ErrConflict:
		return e.Code == http.StatusConflict
	case ErrExpired:
		return e.Code == http.StatusGone
	}
	return false
}

// Resource is a kind of objects, as paths of the API name it.
type Resource struct {
	// Group is "" for the oldest kinds, pods among them.
	Group, Version, Plural string
}

// The resources that this project uses.
var (
	Pods         = Resource{"", "v1", "pods"}
	Nodes        = Resource{"", "v1", "nodes"}
	Events       = Resource{"", "v1", "events"}
	ReplicaSets  = Resource{"apps", "v1", "replicasets"}
	Jobs         = Resource{"batch", "v1", "jobs"}
	DaemonSets   = Resource{"apps", "v1", "daemonsets"}
	Deployments  = Resource{"apps", "v1", "deployments"}
	StatefulSets = Resource{"apps", "v1", "statefulsets"}
	CronJobs     = Resource{"batch", "v1", "cronjobs"}
	Leases       = Resource{"coordination.k8s.io", "v1", "leases"}
	Claims       = Resource{"", "v1", "persistentvolumeclaims"}
	Budgets      = Resource{"policy", "v1", "poddisruptionbudgets"}
	// SelfReviews are made, not read: the answer says who the server takes us for.
	SelfReviews = Resource{"authentication.k8s.io", "v1", "selfsubjectreviews"}
)

// path is where the objects of a namespace are, "" for all; and one of them, if it has a name.
func (r Resource) path(namespace, name string) string {
	parts := []string{"api", r.Version}
	if r.Group != "" {
		parts = []string{"apis", r.Group, r.Version}
	}
	if namespace != "" {
		parts = append(parts, "namespaces", namespace)
	}
	parts = append(parts, r.Plural)
	if name != "" {
		parts = append(parts, name)
	}
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// Query chooses objects.
type Query struct {
	Resource Resource
	// Namespace is "" for all.
	Namespace string
	// Labels and Fields are selectors as kubectl has them: "app=web", "spec.nodeName=node1".
	Labels, Fields string
	// Metadata asks for the metadata of the objects alone, which is a tenth or so of a pod.
	Metadata bool
}

func (q Query) String() string {
	s := q.Resource.Plural
	if q.Fields != "" {
		s += " with " + q.Fields
	}
	if q.Labels != "" {
		s += " labelled " + q.Labels
	}
	if q.Namespace != "" {
		s += " in namespace " + q.Namespace
	}
	return s
}
