package service_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/run"
	"stella/internal/rdev/service"
	"stella/internal/store"
)

// childEnv has the directory that TestChild works in.
const childEnv = "STELLA_RDEV_SERVICE_CHILD"

// TestChild is the process that TestKill kills. It submits commands and runs them, and says what was acknowledged, and what
// was started: a line "S ID" for each Submit, "R ID" before anything of a program.
func TestChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		return
	}
	s, err := openIn(t, dir, runnerFunc(func(_ context.Context, spec run.Spec) rdev.End {
		fmt.Fprintf(os.Stdout, "R %s\n", spec.ID) // one write, so that no line is cut by another
		for i := range 5 {
			fmt.Fprintf(spec.Stdout, "line %d of %s\n", i, spec.ID)
			time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
		}
		return rdev.End{Reason: rdev.ReasonExit}
	}))
	if err != nil {
		t.Fatal(err)
	}
	go s.Run(context.Background())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				c, _, err := s.Submit(t.Context(), rdev.Caller{Name: fmt.Sprint("caller ", i)}, "web", shell("x"), fmt.Sprint(os.Getpid(), " ", n))
				if err != nil {
					time.Sleep(time.Millisecond) // the queue is full
					continue
				}
				fmt.Fprintf(os.Stdout, "S %s\n", c.ID)
			}
		})
	}
	wg.Wait()
}

type runnerFunc func(context.Context, run.Spec) rdev.End

func (f runnerFunc) Run(ctx context.Context, _ rdev.Project, s run.Spec, started func()) rdev.End {
	started()
	return f(ctx, s)
}

// openIn opens a service whose files are in a directory, as a process does when it starts.
func openIn(t *testing.T, dir string, runner service.Runner) (*service.Service, error) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Options{URL: "sqlite:" + filepath.Join(dir, "rdev.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { db.Close() })
	logs, err := outlog.Open(filepath.Join(dir, "logs"), outlog.Options{})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { logs.Close() })
	return service.Open(t.Context(), service.Options{
		DB: db, Logs: logs, Runner: runner, Projects: places{}, Log: slog.New(slog.DiscardHandler),
		Limits: service.Limits{Running: 3, PerProject: 3, Queued: 20, Output: 1 << 20},
	})
}

// The service is killed in the middle of everything, again and again: no command that was acknowledged is missing, what was
// running is lost or has the end that its log had, what was queued runs, nothing runs twice, and no ID repeats.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 15
	if testing.Short() {
		rounds = 4
	}
	submitted, ran := map[string]bool{}, map[string]int{}
	for range rounds {
		killChild(t, dir, submitted, ran)
	}
	var mu sync.Mutex
	s, err := openIn(t, dir, runnerFunc(func(_ context.Context, spec run.Spec) rdev.End {
		mu.Lock()
		ran[spec.ID]++
		mu.Unlock()
		io.WriteString(spec.Stdout, "last\n")
		return rdev.End{Reason: rdev.ReasonExit}
	}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error)
	go func() { stopped <- s.Run(ctx) }()
	for n := s.Counts(); n.Queued+n.Running > 0; n = s.Counts() {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	ends := map[rdev.Reason]int{}
	for id := range submitted {
		c, err := s.Command(t.Context(), "web", id)
		if err != nil {
			t.Errorf("a command that was acknowledged: %v", err)
			continue
		}
		if c.Status != rdev.Ended {
			t.Errorf("%s is %s", id, c.Status)
			continue
		}
		ends[c.End.Reason]++
		log, err := s.Log(t.Context(), "web", id)
		if err != nil {
			t.Error(err)
			continue
		}
		_, end := output(t, log)
		if end.Reason != c.End.Reason {
			t.Errorf("%s ended by %s, and its log by %s", id, c.End.Reason, end.Reason)
		}
		if c.End.Reason == rdev.ReasonExit && ran[id] != 1 {
			t.Errorf("%s ended by itself, and ran %d times", id, ran[id])
		}
	}
	for id, times := range ran {
		if times != 1 {
			t.Errorf("%s ran %d times", id, times)
		}
	}
	if most := 3 * rounds; ends[rdev.ReasonLost] > most || len(ends) > 2 {
		t.Errorf("ends %v: at most %d can be lost", ends, most)
	}
	t.Logf("%d kills, %d commands: %v", rounds, len(submitted), ends)
}

// killChild starts a child, and kills it after a random while.
func killChild(t *testing.T, dir string, submitted map[string]bool, ran map[string]int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
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
		var id string
		if n, _ := fmt.Sscanf(lines.Text(), "S %s", &id); n == 1 {
			if submitted[id] {
				t.Errorf("the ID %s was given twice", id)
			}
			submitted[id] = true
		} else if n, _ := fmt.Sscanf(lines.Text(), "R %s", &id); n == 1 {
			ran[id]++
		} else {
			t.Errorf("the child says %q", lines.Text())
		}
	}
	if kill != nil {
		kill.Stop()
	}
	cmd.Process.Kill()
	if err := cmd.Wait(); err == nil || kill == nil {
		t.Errorf("the child ended by itself: %v\n%s", err, &failure)
	}
}
