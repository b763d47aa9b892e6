package remedy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Conflict is somebody who declares elsewhere what a step changes here, and so will take it back.
type Conflict struct {
	// Manager is how the API server names them, or the mark of a tool on the object.
	Manager string `json:"manager"`
	// Field is what they own; empty is the whole object.
	Field string `json:"field,omitempty"`
	// Text says it in a sentence, with what to do.
	Text string `json:"text"`
}

// declarers are the beginnings of the names of managers that keep an object as it is written elsewhere, also where they do not use server-side apply.
var declarers = []string{"argocd", "kustomize-controller", "helm", "flux", "terraform", "pulumi", "kubectl-client-side-apply", "kapp"}

// marks are labels and annotations that such tools put on what they keep. A value of "" is any.
var marks = []struct{ key, value, tool string }{
	{"argocd.argoproj.io/tracking-id", "", "Argo CD"},
	{"argocd.argoproj.io/instance", "", "Argo CD"},
	{"kustomize.toolkit.fluxcd.io/name", "", "Flux"},
	{"helm.toolkit.fluxcd.io/name", "", "Flux"},
	{"meta.helm.sh/release-name", "", "Helm"},
	{"app.kubernetes.io/managed-by", "Helm", "Helm"},
}

// conflicts are who declares what edits change.
func (o *Object) conflicts(edits []Edit) []Conflict {
	var all []Conflict
	if owner, ok := o.Metadata.Controller(); ok && o.Kind != "Pod" {
		name := owner.Kind + "/" + owner.Name
		all = append(all, Conflict{Manager: name, Text: name + " looks after this object and makes it as it likes: change it there"})
	}
	for _, m := range marks {
		value, ok := o.Metadata.Labels[m.key]
		if !ok {
			value, ok = o.Metadata.Annotations[m.key]
		}
		said := slices.ContainsFunc(all, func(c Conflict) bool { return c.Manager == m.tool })
		if ok && (m.value == "" || value == m.value) && !said {
			all = append(all, Conflict{Manager: m.tool, Text: fmt.Sprintf("%s keeps this object (%s=%s) and will take the change back: change it there", m.tool, m.key, value)})
		}
	}
	for _, e := range edits {
		for _, m := range o.managers() {
			if m.declares() && o.owns(m.Fields, e.Path) {
				all = append(all, Conflict{Manager: m.Name, Field: e.Path, Text: fmt.Sprintf("%s declares %s and will take the change back: change it there", m.Name, o.readable(e.Path))})
			}
		}
	}
	slices.SortFunc(all, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Manager, b.Manager))
	})
	return slices.Compact(all)
}

// manager is an entry of metadata.managedFields.
type manager struct {
	Name      string `json:"manager"`
	Operation string `json:"operation"`
	Fields    any    `json:"fieldsV1"`
}

func (o *Object) managers() []manager {
	value, _ := find(o.tree, "metadata", "managedFields")
	var all []manager
	if json.Unmarshal(encode(value), &all) != nil {
		return nil
	}
	return all
}

// declares reports whether the manager will come back to what it wrote: who applied on the server's side, or a tool that is known to.
func (m *manager) declares() bool {
	if m.Name == Manager {
		return false
	}
	return m.Operation == "Apply" || slices.ContainsFunc(declarers, func(d string) bool { return strings.HasPrefix(m.Name, d) })
}

// owns reports whether a set of fields (FieldsV1) has what a path leads to, or something below it.
func (o *Object) owns(fields any, path string) bool {
	parts, err := split(path)
	if err != nil {
		return false
	}
	for i, part := range parts {
		key := "f:" + part
		if _, list := at[[]any](o.tree, parts[:i]); list {
			name, _ := find(o.tree, append(slices.Clone(parts[:i+1]), "name")...)
			key = `k:{"name":` + string(encode(name)) + `}`
		}
		below, ok := find(fields, key)
		if !ok {
			return false
		}
		fields = below
	}
	return true
}

// at is the value at a place, if it is of that type.
func at[T any](tree any, place []string) (T, bool) {
	value, _ := find(tree, place...)
	t, ok := value.(T)
	return t, ok
}

// readable writes a path for people: spec.containers[c].resources.
func (o *Object) readable(path string) string {
	parts, err := split(path)
	if err != nil {
		return path
	}
	var b strings.Builder
	for i, part := range parts {
		name, named := find(o.tree, append(slices.Clone(parts[:i+1]), "name")...)
		_, list := at[[]any](o.tree, parts[:i])
		switch {
		case list && named:
			fmt.Fprintf(&b, "[%v]", name)
		case list:
			b.WriteString("[" + part + "]")
		case b.Len() > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}
