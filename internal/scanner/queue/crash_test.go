package queue_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"stella/internal/scanner"
	"stella/internal/scanner/queue"
	"stella/internal/store"
	"stella/internal/testkit"
	"stella/internal/testkit/postgres"
)

// childEnv has the URL of the database that TestChild works on.
const childEnv = "STELLA_QUEUE_CHILD"

// TestChild is the process that TestKill kills. It says what was acknowledged: a
// line "S JOB" for each Submit, and "F JOB NUMBER" for each Finish.
func TestChild(t *testing.T) {
	url := os.Getenv(childEnv)
	if url == "" {
		return
	}
	q := newEnv(t, url).instance("a")
	if _, err := q.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	say := func(format string, args ...any) { // one write, so that no line is cut by another
		fmt.Fprintf(os.Stdout, format, args...)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				job := submit(t, q, submission(rand.Int()))
				say("S %d\n", job.ID)
				c := claim(t, q, "default", "w")
				var n int
				fmt.Sscanf(c.Job.Image, "example.test/image:%d", &n)
				finish(t, q, success(c, inventory(n, 20_000)))
				say("F %d %d\n", c.Job.ID, c.Attempt.Number)
			}
		})
	}
	wg.Wait()
}

// A process is killed in the middle of everything, again and again: what it was
// told is kept, what it was not told is there as a whole or not at all.
func TestKill(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		if err := e.db.Close(); err != nil {
			t.Fatal(err)
		}
		rounds := 20
		if testing.Short() {
			rounds = 5
		}
		submitted, finished := map[int64]bool{}, map[attemptID]bool{}
		for range rounds {
			killChild(t, e.url, submitted, finished)
		}
		after := newEnv(t, e.url)
		q := after.instance("a")
		if _, err := q.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		for {
			c, err := q.Claim(t.Context(), "default", "w", 1)
			if err != nil {
				t.Fatal(err)
			}
			if c == nil {
				break
			}
			finish(t, q, success(c, inventory(0, 10)))
		}
		for id := range submitted {
			d, err := q.Details(t.Context(), id)
			if err != nil {
				t.Errorf("an acknowledged job: %v", err)
				continue
			}
			if d.Status != scanner.StatusSucceeded {
				t.Errorf("job %d is %s", id, d.Status)
			}
			var content bytes.Buffer
			if err := q.Inventory(t.Context(), id, &content); err != nil || int64(content.Len()) != d.Result.Size {
				t.Errorf("job %d has an inventory of %d bytes, want %d, %v", id, content.Len(), d.Result.Size, err)
			}
			for i, a := range d.History {
				last := i == len(d.History)-1
				if a.Number != i+1 || last != (a.Outcome == scanner.OutcomeSucceeded) || !last && a.Outcome != scanner.OutcomeLost || finished[attemptID{id, a.Number}] && !last {
					t.Errorf("job %d has the attempts %+v", id, d.History)
				}
			}
		}
		t.Logf("%d kills, %d jobs and %d ends were acknowledged", rounds, len(submitted), len(finished))
	})
}

// killChild starts a child, and kills it after a random while.
func killChild(t *testing.T, url string, submitted map[int64]bool, finished map[attemptID]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var failure bytes.Buffer
	cmd.Stderr = &failure
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var kill *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if kill == nil {
			kill = time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
		}
		var id attemptID
		if n, _ := fmt.Sscanf(lines.Text(), "F %d %d", &id.job, &id.number); n == 2 {
			finished[id] = true
		} else if n, _ := fmt.Sscanf(lines.Text(), "S %d", &id.job); n == 1 {
			submitted[id.job] = true
		} else {
			t.Errorf("the child says %q", lines.Text())
		}
	}
	if kill != nil {
		kill.Stop()
	}
	cmd.Process.Kill()
	if err := cmd.Wait(); err == nil || kill == nil {
		t.Fatalf("the child ended by itself: %v\n%s", err, &failure)
	}
}

// The server of the database is stopped, cleanly or not, and started again, while requests arrive.
func TestDatabaseIsAwayForAWhile(t *testing.T) {
	server := postgres.Start(t)
	e := newEnv(t, server.Database(t))
	q := e.instance("a")
	for _, atOnce := range []bool{false, true} {
		var acknowledged []int64
		var refused int
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for ctx.Err() == nil {
				job, _, err := q.Submit(t.Context(), submission(rand.Int()), plan())
				switch {
				case err == nil:
					acknowledged = append(acknowledged, job.ID)
				case errors.Is(err, scanner.ErrUnavailable) && errors.Is(err, store.ErrUnavailable):
					refused++
				default:
					t.Error(err)
				}
			}
		})
		if err := server.Down(atOnce); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"Claim":    func() error { _, err := q.Claim(t.Context(), "default", "w", 1); return err }(),
			"Renew":    func() error { _, err := q.Renew(t.Context(), nil); return err }(),
			"Job":      func() error { _, err := q.Job(t.Context(), 1); return err }(),
			"Settings": func() error { _, _, _, err := q.Settings(t.Context()); return err }(),
		} {
			if !errors.Is(err, scanner.ErrUnavailable) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := server.Up(); err != nil {
			t.Fatal(err)
		}
		stop()
		wg.Wait()
		if _, err := q.Renew(t.Context(), nil); err != nil {
			t.Errorf("after it is back: %v", err)
		}
		for _, id := range acknowledged {
			if _, err := q.Job(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
		t.Logf("%d requests were acknowledged, %d refused", len(acknowledged), refused)
		if refused == 0 {
			t.Error("no request arrived while the server was away")
		}
	}
}

// A disk that is full refuses, and goes on when there is room.
func TestFullDisk(t *testing.T) {
	testkit.Need(t, testkit.Root)
	dir, free := smallDisk(t, 4<<20)
	e := newEnv(t, "sqlite:"+dir+"/queue.db")
	q := e.instance("a")
	var acknowledged []int64
	var err error
	for n := 0; err == nil; n++ {
		var job scanner.Job
		if job, _, err = q.Submit(t.Context(), submission(n), plan()); err != nil {
			break
		}
		acknowledged = append(acknowledged, job.ID)
		var c *queue.Claim
		if c, err = q.Claim(t.Context(), "default", "w", 1); err == nil {
			_, _, err = q.Finish(t.Context(), success(c, inventory(n, 100_000)))
		}
	}
	if !errors.Is(err, scanner.ErrUnavailable) || !errors.Is(err, store.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	t.Log(err)
	if len(acknowledged) < 10 {
		t.Errorf("only %d jobs on 4 MiB", len(acknowledged))
	}
	for _, id := range acknowledged { // it can still be read
		if _, err := q.Job(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	free()
	if _, err := q.Recover(t.Context()); err != nil {
		t.Errorf("when there is room: %v", err)
	}
	submit(t, q, submission(-1))
}
