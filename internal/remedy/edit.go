package remedy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"stella/internal/kube"
)

// Edit is one value of an object, before and after. In a list it inserts where there is no before, and takes out where there is no after.
type Edit struct {
	// Path is a JSON pointer (RFC 6901).
	Path string `json:"path"`
	// Before is what was seen, and After what is to be; nil is nothing.
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Invert are the edits that take these back.
func Invert(edits []Edit) []Edit {
	var back []Edit
	for _, e := range slices.Backward(edits) {
		back = append(back, Edit{e.Path, e.After, e.Before})
	}
	return back
}

// errOther says that a value is not what an edit has as before.
var errOther = errors.New("it has another value")

// Patched is a document after edits. Where one does not find what it expects, nothing is changed.
func Patched(document []byte, edits []Edit) ([]byte, error) {
	tree, err := decode(document)
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		parts, err := split(e.Path)
		if err != nil {
			return nil, err
		}
		if tree, err = e.change(tree, parts); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
	}
	return json.Marshal(tree)
}

// change is the tree after the edit of what parts leads to in it.
func (e *Edit) change(tree any, parts []string) (any, error) {
	switch t := tree.(type) {
	case map[string]any:
		return e.inObject(t, parts)
	case []any:
		return e.inList(t, parts)
	}
	return nil, errors.New("there is no such place")
}

func (e *Edit) inObject(object map[string]any, parts []string) (any, error) {
	value, ok := object[parts[0]]
	if len(parts) > 1 {
		if !ok {
			return nil, errors.New("there is no such place")
		}
		changed, err := e.change(value, parts[1:])
		object[parts[0]] = changed
		return object, err
	}
	if !e.expects(value, ok) {
		return nil, errOther
	}
	if e.After == nil {
		delete(object, parts[0])
		return object, nil
	}
	after, err := decode(e.After)
	object[parts[0]] = after
	return object, err
}

func (e *Edit) inList(items []any, parts []string) (any, error) {
	at, err := strconv.Atoi(parts[0])
	inserts := len(parts) == 1 && e.Before == nil
	if err != nil || at < 0 || at > len(items) || at == len(items) && !inserts {
		return nil, errors.New("there is no such place")
	}
	if len(parts) > 1 {
		changed, err := e.change(items[at], parts[1:])
		items[at] = changed
		return items, err
	}
	if !inserts && !e.expects(items[at], true) {
		return nil, errOther
	}
	if e.After == nil {
		if inserts {
			return items, nil // from nothing to nothing
		}
		return slices.Delete(items, at, at+1), nil
	}
	after, err := decode(e.After)
	if inserts {
		return slices.Insert(items, at, after), err
	}
	items[at] = after
	return items, err
}

// expects reports whether a value is the one before.
func (e *Edit) expects(value any, there bool) bool {
	if !there || e.Before == nil {
		return !there && e.Before == nil
	}
	return same(e.Before, value)
}

// same reports whether a text of JSON is that value.
func same(text json.RawMessage, value any) bool {
	tree, err := decode(text)
	if err != nil {
		return false
	}
	a, errA := json.Marshal(tree)
	b, errB := json.Marshal(value)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// operations are the edits as a patch that fails where a value is not as before.
func operations(edits []Edit) kube.Operations {
	var all kube.Operations
	for _, e := range edits {
		if e.Before != nil {
			all = append(all, kube.Operation{Op: "test", Path: e.Path, Value: e.Before})
		}
		switch {
		case e.After == nil:
			all = append(all, kube.Operation{Op: "remove", Path: e.Path})
		case e.Before == nil:
			all = append(all, kube.Operation{Op: "add", Path: e.Path, Value: e.After})
		default:
			all = append(all, kube.Operation{Op: "replace", Path: e.Path, Value: e.After})
		}
	}
	return all
}

// set is the edit that gives a value to a place of a tree. Where the objects above it are missing, it makes them.
func set(tree any, value any, parts ...string) Edit {
	for n := 1; n < len(parts); n++ {
		if _, ok := find(tree, parts[:n]...); !ok {
			for i := len(parts) - 1; i >= n; i-- {
				value = map[string]any{parts[i]: value}
			}
			return Edit{Path: join(parts[:n]...), After: encode(value)}
		}
	}
	e := Edit{Path: join(parts...), After: encode(value)}
	if before, ok := find(tree, parts...); ok {
		e.Before = encode(before)
	}
	return e
}

// find is the value at a place of a tree.
func find(tree any, parts ...string) (any, bool) {
	for _, part := range parts {
		switch t := tree.(type) {
		case map[string]any:
			value, ok := t[part]
			if !ok {
				return nil, false
			}
			tree = value
		case []any:
			at, err := strconv.Atoi(part)
			if err != nil || at < 0 || at >= len(t) {
				return nil, false
			}
			tree = t[at]
		default:
			return nil, false
		}
	}
	return tree, true
}

// decode reads JSON, and keeps numbers as they are written.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	if d.More() {
		return nil, errors.New("no JSON: it goes on behind its end")
	}
	return tree, nil
}

// encode writes what was decoded, or made here.
func encode(value any) json.RawMessage {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // of a tree of strings, numbers, lists and objects
	}
	return text
}

var (
	escapes   = strings.NewReplacer("~", "~0", "/", "~1")
	unescapes = strings.NewReplacer("~1", "/", "~0", "~")
)

// join makes a pointer.
func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + escapes.Replace(p))
	}
	return b.String()
}

// split reads a pointer to something below the whole.
func split(pointer string) ([]string, error) {
	if !strings.HasPrefix(pointer, "/") || !utf8.ValidString(pointer) {
		return nil, fmt.Errorf("%.80q is no JSON pointer to a part", pointer)
	}
	parts := strings.Split(pointer[1:], "/")
	for i := range parts {
		parts[i] = unescapes.Replace(parts[i])
	}
	return parts, nil
}
