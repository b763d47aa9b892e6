package main

import (
	"archive/tar"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"stella/bench/ociwrite"
)

// makeImage is the command "image LAYOUT DIR...": an OCI layout with one layer
// for each directory.
func makeImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: image LAYOUT DIR...")
	}
	dirs := make([]string, 0, len(args)-1)
	for _, d := range args[1:] {
		dirs = append(dirs, ts.MkAbs(d))
	}
	ts.Check(writeImage(ts.MkAbs(args[0]), dirs))
}

func writeImage(layout string, dirs []string) error {
	w, err := ociwrite.New(layout, ociwrite.Gzip)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := writeLayer(w, dir); err != nil {
			return err
		}
	}
	return w.Close("latest")
}

func writeLayer(w *ociwrite.Writer, dir string) error {
	l, err := w.Layer()
	if err != nil {
		return err
	}
	err = filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		rel := strings.TrimPrefix(name, dir+"/")
		return l.Entry(tar.Header{Typeflag: tar.TypeReg, Name: rel, Size: info.Size(), Mode: 0o644}, f)
	})
	if err != nil {
		return err
	}
	return l.Close()
}

// startRegistry is the command "registry HOW": a registry that always does
// the same, at $REGISTRY until the script ends.
func startRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || registries[args[0]] == nil {
		ts.Fatalf("usage: registry refuses|hasnothing|stalls")
	}
	s := httptest.NewServer(registries[args[0]])
	ts.Defer(s.Close)
	ts.Setenv("REGISTRY", strings.TrimPrefix(s.URL, "http://"))
}

var registries = map[string]http.HandlerFunc{
	"refuses": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
	},
	"hasnothing": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			w.WriteHeader(http.StatusNotFound)
		}
	},
	"stalls": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
}

// stallingRegistry is for tests that are no scripts; asked is closed when the first request is there.
func stallingRegistry(t *testing.T) (host string, asked <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan struct{}, 64)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		first <- struct{}{}
		<-ctx.Done()
	}))
	t.Cleanup(func() {
		cancel()
		s.Close()
	})
	return strings.TrimPrefix(s.URL, "http://"), first
}
