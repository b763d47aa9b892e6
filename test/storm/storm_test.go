// Package storm kills fifty workers within a second, for real: the released
// stellad with its workers, the kernel's OOM killer, and a registry that holds back
// the end of each layer until every worker has come as far as it can without dying.
//
// Of each storm the test asserts that nothing is mixed up: there are fifty
// incidents, each names its own job, image, layer, file, and the worker that had it; each job is
// tried again in the larger pool, and ends with its own SBOM; stellad stays small.
//
// How quick all of it is depends on the machine, which others may keep busy: it is said, and with
// -alone, where the machine is this test's, a storm that was right but too slow is made again, and in the end fails.
package storm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"stella/bench/daemon"
	"stella/bench/hungry"
	"stella/internal/bytesize"
	"stella/internal/scanner"
	"stella/internal/testkit"
)

const (
	mib = 1 << 20

	workers = 50
	limit   = 64 * mib // of the pool default
	large   = 128 * mib
	// early is what each worker has in memory before the registry lets the rest go, beside
	// some 14 MiB of its own: little is left to do for all to die. It stays below the 62 MiB at
	// which cgroup v2 begins to slow a worker down. With late, it does not fit into the limit.
	early = 46 * mib
	late  = 24 * mib
	// most is what stellad itself may ever have resident.
	most = 64 * mib
	// soon is what is meant by at once.
	soon = time.Second

	// rounds is how often a storm is made that was too slow.
	rounds = 3
	// patience bounds each wait: on a busy machine a worker takes a second to start.
	patience = time.Minute
	// glance is the pause between two looks at the workers, which are work for stellad.
	glance = 20 * time.Millisecond
)

// storm is one of them, with a stellad of its own.
type storm struct {
	*testing.T
	*daemon.Daemon
	registry *hungry.Registry
	places   int // workers of the larger pool

	jobs []int64
	// had is which worker had which job when the storm began.
	had map[int64]string
}

// The images are told apart by a package, a file, and the index of the hungry layer.
func name(i int) string { return fmt.Sprintf("storm-%02d", i) }
func file(i int) string { return fmt.Sprintf("opt/app-%02d.jar", i) }
func below(i int) int   { return i % 3 }

var alone = flag.Bool("alone", false, "fail where it is right, but too slow: the machine is this test's alone")

func TestStorm(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	programs := t.TempDir()
	if err := daemon.Build(t.Context(), programs); err != nil {
		t.Fatal(err)
	}
	layouts := makeImages(t)
	t.Run("PlaceForEach", func(t *testing.T) { storms(t, programs, layouts, workers) })
	t.Run("Queue", func(t *testing.T) { storms(t, programs, layouts, 4) })
}

// storms makes storms until one was quick.
func storms(t *testing.T, programs string, layouts map[string]string, places int) {
	for round := 1; ; round++ {
		s := begin(t, programs, layouts, places)
		s.run()
		slow := s.check()
		s.end()
		if t.Failed() || slow == nil {
			return
		}
		t.Logf("right, but too slow: %v", slow)
		if !*alone {
			return
		}
		if round == rounds {
			t.Fatalf("too slow %d times", rounds)
		}
	}
}

func makeImages(t *testing.T) map[string]string {
	dir, layouts := t.TempDir(), map[string]string{}
	var work errgroup.Group
	work.SetLimit(runtime.NumCPU())
	for i := range workers {
		layout := filepath.Join(dir, name(i))
		layouts[name(i)] = layout
		work.Go(func() error {
			return hungry.Image{Package: name(i), File: file(i), Early: early, Late: late, Below: below(i)}.Write(layout)
		})
	}
	if err := work.Wait(); err != nil {
		t.Fatal(err)
	}
	return layouts
}

// begin starts a registry whose gate is shut, and a stellad with all its workers.
func begin(t *testing.T, programs string, layouts map[string]string, places int) *storm {
	registry, err := hungry.Serve(layouts, hungry.Held/2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	d, err := daemon.Start(t.Context(), daemon.Options{Programs: programs, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop() })
	s := &storm{T: t, Daemon: d, registry: registry, places: places, had: map[int64]string{}}

	status, err := s.Status(t.Context())
	s.must(err)
	if need := int64(workers*limit + places*large); status.Memory < need {
		t.Skipf("this machine has %s for workers; these need %s", bytesize.Text(status.Memory), bytesize.Text(need))
	}
	for key, value := range map[string]string{"worker.count": strconv.Itoa(workers), "sbom.streaming_threshold": "1Gi"} {
		_, err := s.Set(t.Context(), key, value)
		s.must(err)
	}
	_, err = s.PutPool(t.Context(), scanner.Pool{Name: "large", Memory: large, Count: places})
	s.must(err)
	s.until("all workers are idle", func(ws []scanner.Worker) bool {
		return len(ws) == workers+places && !slices.ContainsFunc(ws, func(w scanner.Worker) bool { return w.State != scanner.WorkerIdle })
	})
	return s
}

func (s *storm) end() {
	s.must(s.registry.Close())
	s.must(s.Stop())
}

func (s *storm) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// run gives each worker an image, waits until none can go further without dying,
// and lets all go on. Their next attempts are let go when the last one has died, so that
// they do not keep the dying from a processor.
func (s *storm) run() {
	for i := range workers {
		job, err := s.Submit(s.Context(), scanner.Request{Image: s.registry.Ref(name(i))})
		s.must(err)
		s.jobs = append(s.jobs, job.ID)
	}
	ws := s.until("all workers have read what there is", func(ws []scanner.Worker) bool {
		n := 0
		for _, w := range ws {
			if w.Pool == scanner.DefaultPool && w.Memory > early && w.Progress.Path != "" {
				n++
			}
		}
		return n == workers
	})
	for _, w := range ws {
		if w.Job != 0 {
			s.had[w.Job] = w.Name
		}
	}
	s.registry.Release()
	for _, id := range s.jobs {
		s.follow(id, scanner.EventRequeued)
	}
	s.registry.Open()
	for _, id := range s.jobs {
		s.follow(id, scanner.EventEnded)
	}
}

var errSeen = errors.New("seen")

// follow waits for an event of a job.
func (s *storm) follow(id int64, kind scanner.EventKind) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	err := s.Events(ctx, id, 0, func(e scanner.Event) error {
		if e.Kind == kind {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		s.Fatalf("job %d: no event %s: %v", id, kind, err)
	}
}

// until waits for a condition of the workers.
func (s *storm) until(what string, is func([]scanner.Worker) bool) []scanner.Worker {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(glance) {
		ws, err := s.Workers(s.Context())
		s.must(err)
		if is(ws) {
			return ws
		}
		if time.Now().After(deadline) {
			s.Fatalf("not within %v: %s: %+v", patience, what, ws)
		}
	}
}
