package jsonstream

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"testing"
)

// manifest is npm's own package.json (npm 11.19.1).
//
//go:embed testdata/package.json
var manifest []byte

func BenchmarkSkip(b *testing.B) {
	r := bytes.NewReader(nil)
	d := New(r)
	b.SetBytes(int64(len(manifest)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(manifest)
		d.Reset(r)
		if err := d.Skip(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMembers takes every string of the document.
func BenchmarkMembers(b *testing.B) {
	r := bytes.NewReader(nil)
	d := New(r)
	b.SetBytes(int64(len(manifest)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(manifest)
		d.Reset(r)
		if _, err := value(d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodingJSONValid(b *testing.B) {
	b.SetBytes(int64(len(manifest)))
	for b.Loop() {
		if !json.Valid(manifest) {
			b.Fatal("not JSON")
		}
	}
}
