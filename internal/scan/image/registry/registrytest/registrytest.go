// Package registrytest is a container registry in memory, for tests: a
// [Network] of hosts that needs no sockets, so that it works with testing/synctest, and a [Registry]
// that serves manifests and blobs and breaks in every way a test wants.
package registrytest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Network is an http.RoundTripper that answers in the place of the hosts in
// it, keyed by the host of the URL ("r.test" or "r.test:5000"), with or without
// TLS. A handler that panics cuts its answer.
type Network map[string]http.Handler

// RoundTrip implements http.RoundTripper.
func (n Network) RoundTrip(req *http.Request) (*http.Response, error) {
	h := n[req.URL.Host]
	if h == nil {
		return nil, fmt.Errorf("no such host %q in this test", req.URL.Host)
	}
	in := req.Clone(req.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	r, w := io.Pipe()
	stop := context.AfterFunc(req.Context(), func() { r.CloseWithError(req.Context().Err()) })
	a := &answer{header: make(http.Header), body: w, ready: make(chan struct{})}
	go func() {
		defer stop()
		defer func() {
			if recover() != nil {
				a.WriteHeader(http.StatusOK)
				w.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		h.ServeHTTP(a, in)
		a.WriteHeader(http.StatusOK)
		w.CloseWithError(a.end(req))
	}()
	select {
	case <-a.ready:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	length := int64(-1)
	if s := a.header.Get("Content-Length"); s != "" {
		length, _ = strconv.ParseInt(s, 10, 64)
	}
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: r, ContentLength: length, Request: req,
	}, nil
}

type answer struct {
	sent   int64
	header http.Header
	body   io.Writer
	once   sync.Once
	status int
	ready  chan struct{}
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	a.once.Do(func() { a.status = status; close(a.ready) })
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	n, err := a.body.Write(p)
	a.sent += int64(n)
	return n, err
}

// end is how the client sees the end of the body, by the rules of net/http; nil is io.EOF.
func (a *answer) end(req *http.Request) error {
	if err := req.Context().Err(); err != nil {
		return err
	}
	if n, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64); err == nil && a.sent < n {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Registry serves any repository name from one set of documents and blobs. It is an http.Handler.
type Registry struct {
	// Before sees each request; it returns true where it has answered.
	Before func(w http.ResponseWriter, r *http.Request) bool
	// NoRange makes it ignore Range headers, as some registries do.
	NoRange bool

	mu        sync.Mutex
	manifests map[string]manifest
	blobs     map[string][]byte
	requests  []*http.Request
}

type manifest struct {
	mediaType string
	raw       []byte
}

// Digest is the SHA-256 digest of data.
func Digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// Blob adds a blob and returns its digest.
func (g *Registry) Blob(data []byte) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.blobs == nil {
		g.blobs = make(map[string][]byte)
	}
	d := Digest(data)
	g.blobs[d] = data
	return d
}

// SetBlob serves data under a digest that need not be its own.
func (g *Registry) SetBlob(digest string, data []byte) {
	g.Blob(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.blobs[digest] = data
}

// Manifest adds a manifest or an index under its digest and the given tags, and returns its digest.
func (g *Registry) Manifest(mediaType string, raw []byte, tags ...string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.manifests == nil {
		g.manifests = make(map[string]manifest)
	}
	d := Digest(raw)
	for _, name := range append(tags, d) {
		g.manifests[name] = manifest{mediaType, raw}
	}
	return d
}

// Requests are the requests so far.
func (g *Registry) Requests() []*http.Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*http.Request(nil), g.requests...)
}

// ServeHTTP implements http.Handler.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.requests = append(g.requests, r)
	g.mu.Unlock()
	if g.Before != nil && g.Before(w, r) {
		return
	}
	g.mu.Lock()
	id := path.Base(r.URL.Path)
	m, isManifest := g.manifests[id]
	data, isBlob := g.blobs[id]
	g.mu.Unlock()
	switch {
	case r.URL.Path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case strings.Contains(r.URL.Path, "/manifests/") && isManifest:
		w.Header().Set("Content-Type", m.mediaType)
		w.Header().Set("Docker-Content-Digest", Digest(m.raw))
		w.Write(m.raw)
	case strings.Contains(r.URL.Path, "/blobs/") && isBlob:
		if g.NoRange {
			r.Header.Del("Range")
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"no such thing"}]}`)
	}
}

// Cut writes the header and the first n bytes of what h would answer, and breaks the connection.
func Cut(h http.Handler, w http.ResponseWriter, r *http.Request, n int) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes()[:min(n, rec.Body.Len())])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}
