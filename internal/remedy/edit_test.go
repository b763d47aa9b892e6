package remedy

import (
	"encoding/json"
	"strings"
	"testing"
)

// Whatever is set, and wherever: the inverse gives back what was there.
func FuzzPatchAndBack(f *testing.F) {
	f.Add(`{"spec":{"containers":[{"name":"c","resources":{"limits":{"memory":"64Mi"}}}]}}`, "/spec/containers/0/resources/limits/memory", `"96Mi"`)
	f.Add(`{"spec":{"containers":[{"name":"c"}]}}`, "/spec/containers/0/resources/limits/memory", `"96Mi"`)
	f.Add(`{"env":[{"name":"A","value":"1"}]}`, "/env/1", `{"name":"B","value":"2"}`)
	f.Add(`{"metadata":{}}`, "/metadata/annotations/a~1b~0c", `"x"`)
	f.Add(`{"a":null,"b":[1,[2]]}`, "/b/1/0", `null`)
	f.Fuzz(func(t *testing.T, document, path, value string) {
		tree, err := decode([]byte(document))
		if err != nil {
			return
		}
		parts, err := split(path)
		if err != nil {
			return
		}
		after, err := decode([]byte(value))
		if err != nil {
			return
		}
		edits := []Edit{set(tree, after, parts...)}
		changed, err := Patched([]byte(document), edits)
		if err != nil {
			return // there is no such place
		}
		back, err := Patched(changed, Invert(edits))
		if err != nil {
			t.Fatalf("%+v: %v", edits, err)
		}
		if want := encode(tree); string(back) != string(want) {
			t.Fatalf("%+v of\n%s made\n%s and back\n%s", edits, want, changed, back)
		}
		// And nobody else's change is lost: with another value before, nothing is done.
		if again, err := Patched(changed, edits); err == nil && string(again) != string(changed) && edits[0].Before != nil {
			t.Fatalf("%+v was done twice: %s", edits, again)
		}
	})
}

func TestEditExpectsWhatItSaw(t *testing.T) {
	const document = `{"a":{"b":"1"},"l":[{"n":"x"}]}`
	for _, c := range []struct {
		edit Edit
		want string // or what the error says
	}{
		{Edit{"/a/b", json.RawMessage(`"1"`), json.RawMessage(`"2"`)}, `{"a":{"b":"2"},"l":[{"n":"x"}]}`},
		{Edit{"/a/b", json.RawMessage(`"0"`), json.RawMessage(`"2"`)}, "another value"},
		{Edit{"/a/b", nil, json.RawMessage(`"2"`)}, "another value"},
		{Edit{"/a/c", json.RawMessage(`"1"`), nil}, "another value"},
		{Edit{"/a/b", json.RawMessage(`"1"`), nil}, `{"a":{},"l":[{"n":"x"}]}`},
		{Edit{"/l/0", json.RawMessage(`{"n":"x"}`), nil}, `{"a":{"b":"1"},"l":[]}`},
		{Edit{"/l/0", json.RawMessage(`{"n":"y"}`), nil}, "another value"},
		{Edit{"/l/1", nil, json.RawMessage(`1`)}, `{"a":{"b":"1"},"l":[{"n":"x"},1]}`},
		{Edit{"/l/2", nil, json.RawMessage(`1`)}, "no such place"},
		{Edit{"/l/-1", nil, json.RawMessage(`1`)}, "no such place"},
		{Edit{"/x/y", nil, json.RawMessage(`1`)}, "no such place"},
		{Edit{"/a/b/c", nil, json.RawMessage(`1`)}, "no such place"},
		{Edit{"", nil, json.RawMessage(`1`)}, "no JSON pointer"},
		{Edit{"/a/b", json.RawMessage(`"1"`), json.RawMessage(`{`)}, "no JSON"},
	} {
		got, err := Patched([]byte(document), []Edit{c.edit})
		if err != nil {
			got = []byte(err.Error())
		}
		if !strings.Contains(string(got), c.want) {
			t.Errorf("%+v: %s, want %s", c.edit, got, c.want)
		}
	}
}

// Edits that build on each other are taken back the other way round.
func TestInvertIsTheOtherWayRound(t *testing.T) {
	const document = `{"a":[]}`
	edits := []Edit{{"/a/0", nil, json.RawMessage(`{"b":1}`)}, {"/a/0/b", json.RawMessage(`1`), json.RawMessage(`2`)}, {"/a/1", nil, json.RawMessage(`3`)}}
	changed, err := Patched([]byte(document), edits)
	if err != nil || string(changed) != `{"a":[{"b":2},3]}` {
		t.Fatalf("%s, %v", changed, err)
	}
	if back, err := Patched(changed, Invert(edits)); err != nil || string(back) != document {
		t.Errorf("%s, %v", back, err)
	}
}
