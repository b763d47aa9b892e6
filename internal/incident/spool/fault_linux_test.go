package spool_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/incident"
	"stella/internal/incident/spool"
	"stella/internal/testkit"
)

// adder is in the environment of a process that adds events to the spool in a directory, and says which are there.
const adder = "STELLA_TEST_ADDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(adder); dir != "" {
		addForEver(dir)
	}
	os.Exit(m.Run())
}

func addForEver(dir string) {
	s, err := spool.Open(dir, spool.Options{Log: quiet()})
	if err != nil {
		panic(err)
	}
	for i := 0; ; i++ {
		e := event(incident.Noted, i, 500)
		if err := s.Add(e); err != nil {
			panic(err)
		}
		if _, err := os.Stdout.WriteString(e.ID + "\n"); err != nil {
			panic(err)
		}
	}
}

// sendAll sends all that waits, until there is no more.
func sendAll(t *testing.T, s *spool.Spool, r *receiver) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { s.Run(ctx) })
	for s.Stats().Queued > 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond) // it tells nobody that it has sent all
	}
	cancel()
	work.Wait()
	return r.received()
}

// Whatever was added when the process is killed is there for the next one.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), adder+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		var added []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			added = append(added, lines.Text())
			if len(added) == 300 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		r := &receiver{}
		s := open(t, dir, spool.Options{Send: r.Send})
		got := sendAll(t, s, r)
		if n := len(added); len(got) < n || !slices.Equal(got[:n], added) {
			t.Errorf("%d events were added, and %d were sent", n, len(got))
		}
		if stats := s.Stats(); stats.Dropped != 0 {
			t.Errorf("%+v", stats)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk the oldest samples go, what cannot be written is an error, nothing that was added is lost, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.Namespaces)
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(mount, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &receiver{}
	s := open(t, filepath.Join(mount, "spool"), spool.Options{Send: r.Send})
	var want []string
	samples := 0
	var full error
	for i := 0; full == nil; i++ {
		if i < 20 {
			add(t, s, event(incident.Sampled, i, 50_000))
			samples++
		}
		e := event(incident.Noted, i, 20_000)
		if full = s.Add(e); full == nil {
			want = append(want, e.ID)
		}
	}
	if !errors.Is(full, unix.ENOSPC) || len(want) < 120 {
		t.Errorf("after %d events: %v", len(want), full)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	last := event(incident.Noted, 10_000, 10)
	add(t, s, last)
	got := sendAll(t, s, r)
	notes := slices.DeleteFunc(slices.Clone(got), func(id string) bool { return id[0] != 'n' })
	if !slices.Equal(notes, append(want, last.ID)) {
		t.Errorf("%d events were added, and %d sent", len(want)+1, len(notes))
	}
	if len(got)-len(notes) >= samples {
		t.Error("no sample went to make room")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
