package pressure_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/rdev/pressure"
)

// rig is a watch of memory that the test sets. It is used in a synctest bubble.
type rig struct {
	*pressure.Watch
	log bytes.Buffer

	sync.Mutex          // of what follows
	used, garbage int64 // percent
	err           error
	collections   int
}

func start(t *testing.T, dir string) *rig {
	t.Helper()
	r := &rig{}
	w, err := pressure.New(pressure.Options{
		Measure: func() ([]pressure.Use, error) {
			r.Lock()
			defer r.Unlock()
			return []pressure.Use{
				{Source: "small", Used: 1, Limit: 1000},
				{Source: "large", Used: (r.used + r.garbage) * 10, Limit: 1000},
			}, r.err
		},
		Collect: func() {
			r.Lock()
			defer r.Unlock()
			r.collections++
			r.garbage = 0
		},
		Profiles: dir,
		Log:      slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Watch = w
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// at lets the watch see that so much is used, and garbage beside it.
func (r *rig) at(percent, garbage int64) {
	r.Lock()
	r.used, r.garbage = percent, garbage
	r.Unlock()
	time.Sleep(time.Second)
	synctest.Wait()
}

func (r *rig) collected() int {
	r.Lock()
	defer r.Unlock()
	return r.collections
}

func TestLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, "")
		for _, step := range []struct {
			percent int64
			want    pressure.Level
		}{
			{10, pressure.Normal}, {79, pressure.Normal}, {80, pressure.High}, {76, pressure.High}, {75, pressure.High}, {74, pressure.Normal},
			{79, pressure.Normal}, {89, pressure.High}, {90, pressure.Critical}, {85, pressure.Critical}, {84, pressure.High}, {91, pressure.Critical}, {0, pressure.Normal}, {100, pressure.Critical},
		} {
			r.at(step.percent, 0)
			if got := r.State().Level; got != step.want {
				t.Errorf("at %d %%: %v, want %v", step.percent, got, step.want)
			}
			commands, why := r.RefuseCommands()
			streams, _ := r.RefuseStreams()
			if commands != (step.want >= pressure.High) || streams != (step.want == pressure.Critical) {
				t.Errorf("at %d %%: commands refused %v, streams %v", step.percent, commands, streams)
			}
			if commands && !strings.Contains(why, "(large)") {
				t.Errorf("it says %q", why)
			}
		}
	})
}

// Garbage refuses nothing, and what was refused for garbage is taken again soon.
func TestGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, t.TempDir())
		r.at(25, 70)
		if l := r.State().Level; l != pressure.Normal || r.collected() != 1 {
			t.Errorf("level %v after %d collections", l, r.collected())
		}
		r.at(25, 70) // it was collected just before, so who knows
		if l := r.State().Level; l != pressure.Critical || r.collected() != 1 {
			t.Errorf("level %v after %d collections", l, r.collected())
		}
		r.at(30, 65)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if l := r.State().Level; l != pressure.Normal {
			t.Errorf("level %v, and only garbage is there", l)
		}
	})
}

// However long it lasts, there is at most one collection in three seconds.
func TestCollectionsAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, "")
		r.at(95, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.collected(); n > 21 {
			t.Errorf("%d collections in a minute", n)
		}
	})
}

func TestCannotTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, "")
		r.at(95, 0)
		r.Lock()
		moon := errors.New("no cgroups on the moon")
		r.err = moon
		r.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := r.State(); s.Level != pressure.Normal || !errors.Is(s.Err, moon) {
			t.Errorf("state %+v", s)
		}
		if n := strings.Count(r.log.String(), "moon"); n != 1 {
			t.Errorf("it was logged %d times:\n%s", n, &r.log)
		}
	})
}

// A minute of peace between profiles, ten of them in all, each of which is a profile.
func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := start(t, dir)
		for range 15 { // a rise each 20 seconds
			r.at(85, 0)
			r.at(10, 0)
			time.Sleep(18 * time.Second)
		}
		names, _ := filepath.Glob(filepath.Join(dir, "heap-*"))
		if len(names) != 5 {
			t.Errorf("%d profiles after five minutes: %q", len(names), names)
		}
		for range 20 {
			r.at(92, 0)
			r.at(10, 0)
			time.Sleep(time.Minute)
		}
	})
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(names) != 11 { // and mine.txt
		t.Errorf("kept %q", names)
	}
	for _, name := range names[:10] {
		if !strings.HasSuffix(name, "-92.pb.gz") {
			t.Errorf("%s was kept, and is not of the newest", name)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err == nil {
			_, err = io.Copy(io.Discard, z)
		}
		if f.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A process that is restarted again and again does not push out what the first one saw.
func TestProfilesAfterRestart(t *testing.T) {
	dir := t.TempDir()
	for i := range int64(5) {
		w, err := pressure.New(pressure.Options{
			Measure:  func() ([]pressure.Use, error) { return []pressure.Use{{Used: 91 + i, Limit: 100}}, nil },
			Profiles: dir,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Run(ctx); err != nil { // looks once
			t.Fatal(err)
		}
		if w.State().Level != pressure.Critical {
			t.Fatalf("state %+v", w.State())
		}
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("profiles %q", names)
	}
}

func TestMeasure(t *testing.T) {
	uses, err := pressure.Measure()
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uses {
		if u.Used <= 0 || u.Limit <= 0 || u.Used > u.Limit || u.Source == "" {
			t.Errorf("%+v", u)
		}
		t.Log(u)
	}
}
