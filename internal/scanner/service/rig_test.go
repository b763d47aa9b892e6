package service_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/bench/ociwrite"
	"stella/internal/incident/book"
	"stella/internal/scanner"
	"stella/internal/scanner/logs"
	"stella/internal/scanner/queue"
	"stella/internal/scanner/resolve"
	"stella/internal/scanner/service"
	"stella/internal/store"
	"stella/internal/telemetry"
)

const mib = 1 << 20

// patience bounds what a test waits for: on a busy machine a worker takes a second to start.
const patience = time.Minute

// program is the stella that the workers of these tests run.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "stella-service-*")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "stella"), "stella/cmd/stella").CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := program(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// rig is a service of its own, with a database of its own.
type rig struct {
	*testing.T
	dir    string
	memory int64
	policy resolve.Policy
	worker string // the program; empty is the real one

	*service.Service
	queue *queue.Queue
	stop  func()
}

// caller may name any path of this machine.
var caller = scanner.Caller{Name: "test", Local: true}

func newRig(t *testing.T, memory int64) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir(), memory: memory}
	r.start()
	return r
}

// start runs the service, until stop or the end of the test.
func (r *rig) start() {
	r.Helper()
	bin, err := program()
	if err != nil {
		r.Fatal(err)
	}
	worker := r.worker
	if worker == "" {
		worker = filepath.Join(bin, "stella")
	}
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(r.Context(), store.Options{URL: "sqlite:" + filepath.Join(r.dir, "db"), Log: log})
	if err != nil {
		r.Fatal(err)
	}
	lines, err := logs.Open(r.Context(), db, "test", log)
	if err != nil {
		r.Fatal(err)
	}
	instance := scanner.Instance{Name: "test", Host: "test", Version: "1.2.3", Started: time.Now()}
	incidents, err := book.Open(r.Context(), db, book.Options{Log: log})
	if err != nil {
		r.Fatal(err)
	}
	if r.queue, err = queue.New(r.Context(), db, incidents, instance); err != nil {
		r.Fatal(err)
	}
	r.Service, err = service.Start(r.Context(), service.Options{
		Queue: r.queue, Logs: lines, Log: slog.New(lines.Handler(log.Handler())), Telemetry: telemetry.NewScanner("1.2.3"),
		Instance: instance, Store: db.Dialect(), Program: worker,
		Group:   fmt.Sprintf("test-%d-%s", os.Getpid(), strings.ToLower(filepath.Base(filepath.Dir(r.dir))[:8])),
		DataDir: r.dir, CacheDir: filepath.Join(r.dir, "cache"), TempDir: r.dir, Policy: r.policy, Memory: r.memory,
	})
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Service.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.Errorf("run: %v", err)
		}
		if err := lines.Close(); err != nil {
			r.Errorf("close the log: %v", err)
		}
		if err := db.Close(); err != nil {
			r.Errorf("close the database: %v", err)
		}
	})
	r.Cleanup(r.stop)
}

// set changes settings, in pairs.
func (r *rig) set(pairs ...string) {
	r.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if _, err := r.Set(r.Context(), caller, pairs[i], pairs[i+1]); err != nil {
			r.Fatal(err)
		}
	}
}

// submit asks for a scan.
func (r *rig) submit(q scanner.Request) scanner.Job {
	r.Helper()
	job, err := r.Submit(r.Context(), caller, q)
	if err != nil {
		r.Fatal(err)
	}
	return job
}

// wait follows a job to its end.
func (r *rig) wait(id int64) scanner.JobDetails {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	if err := r.Events(ctx, id, 0, func(scanner.Event) error { return nil }); err != nil {
		d, _ := r.Job(r.Context(), id)
		r.Fatalf("job %d did not end: %v: %+v", id, err, d)
	}
	d, err := r.Job(r.Context(), id)
	if err != nil {
		r.Fatal(err)
	}
	return d
}

// until waits for a condition of the workers.
func (r *rig) until(what string, is func([]scanner.Worker) bool) []scanner.Worker {
	r.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		workers, err := r.Workers(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		if is(workers) {
			return workers
		}
		if time.Now().After(deadline) {
			r.Fatalf("not within %v: %s: %+v", patience, what, workers)
		}
	}
}

// idle counts workers that have a process and nothing to do.
func idle(workers []scanner.Worker) (n int) {
	for _, w := range workers {
		if w.State == scanner.WorkerIdle {
			n++
		}
	}
	return n
}

// image writes an image with one npm package of that name, and a jar of so many
// zeros, which is no jar but is kept for random access before that is known.
func image(t *testing.T, name string, jar int64, layers int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	w, err := ociwrite.New(dir, ociwrite.Gzip)
	if err != nil {
		t.Fatal(err)
	}
	for n := range layers {
		l, err := w.Layer()
		if err != nil {
			t.Fatal(err)
		}
		pkg := fmt.Sprintf(`{"name":"%s","version":"1.0.%d"}`, name, n)
		entry(t, l, fmt.Sprintf("srv/%d/node_modules/%s/package.json", n, name), int64(len(pkg)), strings.NewReader(pkg))
		if jar > 0 && n == 0 {
			entry(t, l, "opt/app.jar", jar, io.LimitReader(zeros{}, jar))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("latest"); err != nil {
		t.Fatal(err)
	}
	return dir
}

func entry(t *testing.T, l *ociwrite.Layer, name string, size int64, content io.Reader) {
	t.Helper()
	if err := l.Entry(tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}, content); err != nil {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// stalling is a registry with one image, whose layers come only after open.
type stalling struct {
	ref  string
	host string
	// asked has a value for each layer that somebody waits for.
	asked chan struct{}
	open  func()
}

func newStalling(t *testing.T, layout string) *stalling {
	t.Helper()
	var index struct {
		Manifests []struct{ MediaType, Digest string }
	}
	raw, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err == nil {
		err = json.Unmarshal(raw, &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	layers, err := ociwrite.Layers(layout, "latest")
	if err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	s := &stalling{asked: make(chan struct{}, 100), open: sync.OnceFunc(func() { close(gate) })}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if strings.Contains(r.URL.Path, "/manifests/") {
			digest = index.Manifests[0].Digest
			w.Header().Set("Content-Type", index.Manifests[0].MediaType)
		}
		for _, l := range layers {
			if l.Digest == digest {
				s.asked <- struct{}{}
				select {
				case <-gate:
				case <-r.Context().Done():
					return
				}
			}
		}
		if !strings.HasPrefix(digest, "sha256:") {
			return // /v2/
		}
		http.ServeFile(w, r, filepath.Join(layout, "blobs/sha256", strings.TrimPrefix(digest, "sha256:")))
	}))
	t.Cleanup(server.Close)
	t.Cleanup(s.open)
	s.host = strings.TrimPrefix(server.URL, "http://")
	s.ref = s.host + "/app:latest"
	return s
}

func kill(pid int) error { return syscall.Kill(pid, syscall.SIGKILL) }
