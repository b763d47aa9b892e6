package rdev

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/trend"
)

// What a soak may show. Growth that is both significant and large fails it: a difference of bytes can be significant without mattering.
const (
	significant = 0.01      // the chance that it is none
	mostGrowth  = 512 << 10 // of the heap, in bytes, over the samples
)

// pooled are descriptors that the service keeps once it needed them: connections to its database, each with its files.
const pooled = 16

// soaking is how many clients there are at the same time.
const soaking = 8

// soak is one run.
type soak struct {
	*process
	requests atomic.Int64
	commands atomic.Int64
	streams  atomic.Int64
	ended    chan struct{}
}

// A day of use, compressed: commands that end, that are cancelled, that cannot be started; streams that are read to their end, left, and
// taken up again; outputs, lists, the cache of projects, wrong requests. The heap does not grow, and goroutines and descriptors return.
func TestSoak(t *testing.T) {
	if !*bench {
		t.Parallel()
	}
	requests, samples := int64(12_000), 20
	if *bench {
		requests, samples = 200_000, 60
	}
	// What is kept of the past is bounded as it always is, but by less, so that the bounds are reached soon.
	p := launch(t, t.TempDir(), "--cache-ttl", "20ms", "--output", "1Mi", "--output-total", "20Mi", "--memory", "32Mi", "--keep", "10s", "--stream-age", "20s")
	before := p.resting()
	s := &soak{process: p, ended: make(chan struct{})}
	var clients sync.WaitGroup
	start := time.Now()
	for i := range soaking {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for {
				select {
				case <-s.ended:
					return
				default:
					s.session(random)
				}
			}
		})
	}
	warm := requests / 3 // caches fill, and the bounds of what is kept are reached
	s.until(warm)
	var heap, resident []float64
	for i := range samples {
		s.until(warm + requests*int64(i+1)/int64(samples)*2/3)
		heap = append(heap, float64(number(t, p.get("/debug/pprof/heap?gc=1&debug=1"), "# HeapAlloc")))
		resident = append(resident, float64(p.status("VmRSS")))
	}
	close(s.ended)
	clients.Wait()
	took := time.Since(start)
	after := p.returns(before)
	if s.requests.Load() < requests {
		t.Errorf("%d requests", s.requests.Load())
	}
	growth := trend.Slope(heap) * float64(len(heap)-1)
	if trend.Chance(heap) < significant && growth > mostGrowth {
		t.Errorf("the heap grows: %.0f", heap)
	}
	mib := func(bytes float64) string { return fmt.Sprintf("%.2f MiB", bytes/(1<<20)) }
	for _, row := range []string{
		"| compressed soak | |",
		"|---|---|",
		fmt.Sprintf("| requests, commands, streams | %d, %d, %d in %.0f s |", s.requests.Load(), s.commands.Load(), s.streams.Load(), took.Seconds()),
		fmt.Sprintf("| heap after a collection, first and last of %d samples | %s, %s |", samples, mib(heap[0]), mib(heap[len(heap)-1])),
		fmt.Sprintf("| **its growth over the samples by Theil and Sen, and the chance that it is none by Mann and Kendall** | **%s, p = %.3f** |", mib(growth), trend.Chance(heap)),
		fmt.Sprintf("| resident memory, first, last, and growth in the same way | %s, %s, %s, p = %.3f |", mib(resident[0]), mib(resident[len(resident)-1]), mib(trend.Slope(resident)*float64(len(resident)-1)), trend.Chance(resident)),
		fmt.Sprintf("| goroutines and descriptors at rest, before and after | %d and %d, %d and %d |", before.goroutines, before.descriptors, after.goroutines, after.descriptors),
	} {
		t.Log(row)
	}
}

// until waits until there were so many requests.
func (s *soak) until(requests int64) {
	s.t.Helper()
	for last, since := int64(0), time.Now(); s.requests.Load() < requests; time.Sleep(time.Millisecond) {
		if n := s.requests.Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > patience {
			s.t.Fatalf("nothing goes on after %d requests", last)
		}
	}
}

// call sends a request, and wants one of the statuses.
func (s *soak) call(ctx context.Context, method, path string, body any, want ...int) []byte {
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body) // of a request, which it can always be made of
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, bytes.NewReader(text))
	if err != nil {
		s.t.Error(err)
		return nil
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := s.socket.Do(r)
	if err != nil {
		if ctx.Err() == nil {
			s.t.Error(err)
		}
		return nil
	}
	defer resp.Body.Close()
	s.requests.Add(1)
	text, err = io.ReadAll(resp.Body)
	for _, status := range want {
		if resp.StatusCode == status && (err == nil || ctx.Err() != nil) {
			return text
		}
	}
	s.t.Errorf("%s %s: %s, %v: %.300s", method, path, resp.Status, err, text)
	return nil
}

// session is what one client does with one command.
func (s *soak) session(random *rand.Rand) {
	const project = "/v1/projects/web"
	ctx := s.t.Context()
	kind := random.IntN(10)
	request := rdev.Request{Argv: []string{"/bin/echo", "one"}}
	switch kind {
	case 0:
		request = rdev.Request{Argv: []string{"/bin/sleep", "600"}}
	case 1:
		request = rdev.Request{Argv: []string{"/no/such/program"}}
	case 2:
		request = rdev.Request{Shell: "seq 2000; echo err >&2; exit 3"}
	}
	var c rdev.Command
	if err := json.Unmarshal(s.call(ctx, http.MethodPost, project+"/commands", request, http.StatusAccepted), &c); err != nil {
		s.t.Error(err)
		return
	}
	s.commands.Add(1)
	path := project + "/commands/" + c.ID
	s.call(ctx, http.MethodGet, "/v1/projects", nil, http.StatusOK)
	s.call(ctx, http.MethodGet, path, nil, http.StatusOK)
	leave, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(20))*time.Millisecond)
	s.events(leave, path) // which leaves before the end, or not
	cancel()
	if kind == 0 {
		s.call(ctx, http.MethodDelete, path, nil, http.StatusAccepted, http.StatusOK)
	}
	s.events(ctx, path)
	// Behind its end it may be removed at any time, as so little is kept.
	for range 2 {
		s.call(ctx, http.MethodGet, path+"/output?tail=10", nil, http.StatusOK, http.StatusGone, http.StatusNotFound)
		s.call(ctx, http.MethodGet, project+"/commands?limit=20", nil, http.StatusOK)
		s.call(ctx, http.MethodGet, project, nil, http.StatusOK)
	}
	s.call(ctx, http.MethodGet, "/v1/projects/none", nil, http.StatusNotFound)
	s.call(ctx, http.MethodGet, path+"/events?last_event_id=x", nil, http.StatusBadRequest, http.StatusGone, http.StatusNotFound)
	s.call(ctx, http.MethodPost, project+"/commands", rdev.Request{}, http.StatusUnprocessableEntity)
	s.call(ctx, http.MethodGet, "/ready", nil, http.StatusOK)
}

// events reads a stream until its end, or until ctx ends.
func (s *soak) events(ctx context.Context, path string) {
	s.streams.Add(1)
	s.call(ctx, http.MethodGet, path+"/events", nil, http.StatusOK, http.StatusGone, http.StatusNotFound)
}

// resting is what a service has when nobody asks anything of it.
type resting struct{ goroutines, descriptors int64 }

func (p *process) resting() resting {
	p.t.Helper()
	p.hangUp()
	return resting{goroutines: number(p.t, p.get("/metrics"), "go_goroutines"), descriptors: p.descriptors()}
}

// returns waits until there is no more than there was before the first request, and says what there is.
func (p *process) returns(before resting) resting {
	p.t.Helper()
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		now := p.resting()
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors+pooled {
			return now
		}
		if time.Since(start) > patience {
			p.t.Errorf("at rest there are %+v, and there were %+v", now, before)
			return now
		}
	}
}
