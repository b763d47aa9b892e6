package remedy

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"stella/internal/kube"
)

// Object is one of Kubernetes, as it was read: whole, because what nobody thought of has to come through a change as it was.
type Object struct {
	kube.Owned
	Kind string
	// Version is that of metadata.resourceVersion.
	Version string
	tree    any
}

// NewObject reads an object.
func NewObject(text []byte) (*Object, error) {
	var o Object
	var err error
	if o.tree, err = decode(text); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &o.Owned); err != nil {
		return nil, err
	}
	o.Kind, _ = o.text("kind")
	o.Version, _ = o.text("metadata", "resourceVersion")
	if o.Kind == "" || o.Metadata.Name == "" || o.Metadata.UID == "" {
		return nil, errors.New("an object without a kind, a name or a UID")
	}
	return &o, nil
}

// text is a text in the object.
func (o *Object) text(parts ...string) (string, bool) {
	value, _ := find(o.tree, parts...)
	text, ok := value.(string)
	return text, ok
}

// amount is an amount of memory in the object, in bytes; 0 is none.
func (o *Object) amount(parts ...string) int64 {
	value, ok := find(o.tree, parts...)
	if !ok {
		return 0
	}
	var b kube.Bytes
	if b.UnmarshalJSON(encode(value)) != nil {
		return 0
	}
	return int64(b)
}

// list is a list in the object.
func (o *Object) list(parts ...string) []any {
	value, _ := find(o.tree, parts...)
	items, _ := value.([]any)
	return items
}

// named is the place of the item of that name in a list.
func (o *Object) named(name string, parts ...string) (place []string, ok bool) {
	for i, item := range o.list(parts...) {
		if value, _ := find(item, "name"); value == name {
			return append(slices.Clone(parts), strconv.Itoa(i)), true
		}
	}
	return nil, false
}

// template is where the object has what its pods are made of; nil for kinds whose template we do not change.
func (o *Object) template() []string {
	switch o.Kind {
	case "Pod":
		return []string{}
	case "Deployment", "StatefulSet", "DaemonSet":
		return []string{"spec", "template"}
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template"}
	}
	return nil
}

// container is the place of a container in what the object's pods are made of.
func (o *Object) container(name string) ([]string, bool) {
	template := o.template()
	if template == nil {
		return nil, false
	}
	for _, field := range []string{"containers", "initContainers"} {
		if place, ok := o.named(name, under(template, "spec", field)...); ok {
			return place, true
		}
	}
	return nil, false
}

// target is the object as that of a step.
func (o *Object) target() *Target {
	return &Target{Kind: o.Kind, Namespace: o.Metadata.Namespace, Name: o.Metadata.Name, UID: o.Metadata.UID}
}

// under is a place below another.
func under(place []string, more ...string) []string {
	return append(slices.Clone(place), more...)
}

// Workload is a container in Kubernetes, and what it belongs to.
type Workload struct {
	Pod       *Object
	Container string
	// Owner is the one furthest up whose template the pod follows; nil is none that we know how to change.
	Owner *Object
	// Foreign is an owner, as Kind/name, above Owner, or in its place, that we do not know: it makes the objects below it as it likes.
	Foreign string
	// Allocatable is what the pod's node can give to pods, in bytes; 0 is not known.
	Allocatable int64
}
