// Package chaos kills the scanner service in every way, as real processes, and
// counts afterwards: no scan is lost, none is done twice, and none gets another's result.
//
// Words: a run is one service, its database, and a number of images, each with one
// package of its own name, so that every result can be told from all others. Clients
// submit the images while workers and stellad itself are killed with SIGKILL. The
// books are the database after stellad has ended: what must be true of them is in books_test.go.
//
// make test makes a small run. The large ones are for make chaos:
//
//	go test -count=1 -v -timeout 30m ./test/chaos -full
//
// What is killed when follows from -seed, as far as the machine repeats itself: kills of
// stellad come after a number of finished jobs, those of workers after pauses.
//
// Hazards:
//
//   - A killed test binary must leave nothing: stellad is killed with it by the
//     kernel (Pdeathsig), and workers end with their stellad.
//   - What is killed is a child of a process that this test started, by a handle that cannot come
//     to mean another process.
package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"stella/internal/testkit/postgres"
)

var (
	full = flag.Bool("full", false, "make the large runs, of minutes")
	seed = flag.Uint64("seed", 0, "what follows from chance follows from this `number`; 0 takes a new one")
)

// programs is a directory with stellad and stella, and with what cuts their power: vm and guest.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "stella-chaos-bin-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir, "stella/cmd/stella", "stella/cmd/stellad", "stella/test/chaos/guest", "stella/test/vm")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%v: %w: %s", cmd, err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if dir, _ := programs(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// chance is the source of all chance in a test; what it began with is logged.
func chance(t *testing.T) *rand.Rand {
	n := *seed
	if n == 0 {
		n = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./test/chaos -run '^%s$' -seed %d", t.Name(), n)
	return rand.New(rand.NewPCG(n, n))
}

// run is how much is done, and how much is killed.
type run struct {
	jobs    int
	servers int
	kills   int // of stellad
	// pause is the mean time between kills of workers.
	pause time.Duration
	// resume is what starting to work again after a kill may take at most.
	resume time.Duration
}

var (
	// A machine that runs all other tests at the same time may be late.
	small = run{jobs: 300, servers: 1, kills: 3, pause: 100 * time.Millisecond, resume: 10 * time.Second}
	large = run{jobs: 10_000, servers: 1, kills: 10, pause: 100 * time.Millisecond, resume: 2 * time.Second}
	// Of two servers, one takes up what the other had, or the other itself when it is back.
	couple = run{jobs: 3_000, servers: 2, kills: 20, pause: 200 * time.Millisecond, resume: 2 * time.Second}
)

// Workers and stellad are killed at random moments; every job ends once, with the right result.
func TestKills(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		r := small
		if *full {
			r = large
		}
		r.test(t, func(s *stellad) { s.store = "sqlite:" + filepath.Join(s.dir, "data", "stella.db") })
	})
	for name, r := range map[string]run{"postgres": large, "two servers": couple} {
		t.Run(name, func(t *testing.T) {
			if !*full {
				t.Skip("only with -full")
			}
			url := postgres.Database(t)
			r.test(t, func(s *stellad) { s.store = url })
		})
	}
}

func (r run) test(t *testing.T, store func(*stellad)) {
	random := chance(t)
	images := makeImages(t, r.jobs)
	var servers []*stellad
	for n := range r.servers {
		s := newStellad(t, strconv.Itoa(n))
		store(s)
		s.start()
		s.set("worker.count", "2", "retry.max_attempts", "100")
		servers = append(servers, s)
	}

	began := time.Now()
	orders := newOrders(t, images)
	var killers []func() int
	for _, s := range servers {
		orders.submit(s.client)
		killers = append(killers, killWorkers(t, s, r.pause, random.Uint64()))
	}
	starts := killServers(servers, orders, r, random)
	orders.wait(servers[0].client)
	killed := 0
	for _, end := range killers {
		killed += end()
	}
	t.Logf("%d jobs acknowledged, at most %d at a time in the queue, all ended after %v; stellad killed %d times, workers %d times",
		len(orders.acknowledged), orders.deepest, time.Since(began).Round(time.Second), len(starts), killed)

	checkResults(t, servers[0].client, images)
	for _, s := range servers {
		s.end()
	}
	books := servers[0].openBooks()
	books.check(images, orders.acknowledged)
	books.checkResume(starts, r.resume)
	for _, s := range servers {
		s.checkNothingIsLeft()
	}
}
