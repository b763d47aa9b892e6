package hungry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"stella/bench/ociwrite"
)

// Registry serves OCI layouts over plain HTTP on the loopback interface. Of each
// layer that has more bytes than it holds back it sends all but those, and the rest
// after Release. Who comes later gets nothing of such a layer before Open.
type Registry struct {
	host   string
	hold   int64
	server *http.Server
	// Closed by Release and Open.
	released, open chan struct{}
	release, opens func()

	images map[string]source
}

// source is one image.
type source struct {
	layout, manifest, mediaType string
}

// Serve starts a registry. The layouts are by repository; hold is in bytes. The
// caller must Close it.
func Serve(layouts map[string]string, hold int64) (*Registry, error) {
	r, err := open(layouts, hold)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.host = l.Addr().String()
	go func() { _ = r.server.Serve(l) }() // until Close
	return r, nil
}

// open makes a registry that does not listen yet.
func open(layouts map[string]string, hold int64) (*Registry, error) {
	r := &Registry{hold: hold, released: make(chan struct{}), open: make(chan struct{}), images: map[string]source{}}
	r.release = sync.OnceFunc(func() { close(r.released) })
	r.opens = sync.OnceFunc(func() { close(r.open) })
	r.server = &http.Server{Handler: r}
	for repository, layout := range layouts {
		s, err := find(layout)
		if err != nil {
			return nil, fmt.Errorf("serve %s: %w", layout, err)
		}
		r.images[repository] = s
	}
	return r, nil
}

func find(layout string) (source, error) {
	var index struct {
		Manifests []struct{ MediaType, Digest string }
	}
	raw, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		return source{}, err
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return source{}, err
	}
	if len(index.Manifests) != 1 {
		return source{}, fmt.Errorf("it has %d images; want one", len(index.Manifests))
	}
	return source{layout, index.Manifests[0].Digest, index.Manifests[0].MediaType}, nil
}

// Ref is the reference of an image.
func (r *Registry) Ref(repository string) string { return r.host + "/" + repository + ":latest" }

// Release lets the ends of layers go to those who wait for them.
func (r *Registry) Release() { r.release() }

// Open ends all waiting, now and later.
func (r *Registry) Open() {
	r.release()
	r.opens()
}

// Close ends it, and cuts what it serves.
func (r *Registry) Close() error {
	r.Open()
	return r.server.Close()
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	path, ok := strings.CutPrefix(q.URL.Path, "/v2/")
	if !ok || path == "" {
		return // the handshake: nobody needs to log in
	}
	repository, kind, name := split(path)
	image, ok := r.images[repository]
	if !ok {
		http.NotFound(w, q)
		return
	}
	if kind == "manifests" {
		name = image.manifest
		w.Header().Set("Content-Type", image.mediaType)
	}
	blob, err := ociwrite.BlobPath(image.layout, name)
	if err != nil {
		http.NotFound(w, q)
		return
	}
	f, err := os.Open(blob)
	if err != nil {
		http.NotFound(w, q)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := &held{File: f, from: info.Size(), until: r.released, gone: q.Context().Done()}
	if info.Size() > r.hold {
		h.from -= r.hold
		select {
		case <-r.released:
			h.from, h.until = 0, r.open
		default:
		}
	}
	w.Header().Set("Content-Type", cmp.Or(w.Header().Get("Content-Type"), "application/octet-stream"))
	http.ServeContent(&flushed{w, http.NewResponseController(w)}, q, "", info.ModTime(), h)
}

// split takes REPOSITORY/KIND/NAME apart.
func split(path string) (repository, kind, name string) {
	end := strings.LastIndexByte(path, '/')
	if end < 0 {
		return path, "", ""
	}
	path, name = path[:end], path[end+1:]
	end = strings.LastIndexByte(path, '/')
	return path[:max(end, 0)], path[end+1:], name
}

// held is a file whose bytes from an offset on can be read when the waiting ends.
type held struct {
	*os.File
	from        int64
	until, gone <-chan struct{} // the end of the waiting, and of the client
}

// Read implements io.Reader.
func (h *held) Read(p []byte) (int, error) {
	at, err := h.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	if at < h.from {
		p = p[:min(int64(len(p)), h.from-at)]
		return h.File.Read(p)
	}
	select {
	case <-h.until:
		return h.File.Read(p)
	case <-h.gone:
		return 0, io.ErrUnexpectedEOF
	}
}

// flushed sends each piece at once: who waits behind it has all before it.
type flushed struct {
	http.ResponseWriter
	*http.ResponseController
}

// WriteHeader implements http.ResponseWriter.
func (f *flushed) WriteHeader(status int) {
	f.ResponseWriter.WriteHeader(status)
	_ = f.Flush() // the client is gone: Write says so
}

// Write implements io.Writer.
func (f *flushed) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}
