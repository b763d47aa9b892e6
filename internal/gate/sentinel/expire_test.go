package sentinel

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func counts(t *testing.T, text string, want map[string]int) {
	t.Helper()
	for words, n := range want {
		if got := strings.Count(text, words); got != n {
			t.Errorf("%q is said %d times, want %d, in %s", words, got, n, text)
		}
	}
}

// machine is one whose time is that of synctest, which can be suspended.
type machine struct {
	began time.Time
	slept atomic.Int64 // nanoseconds
}

func (m *machine) now() (Instant, error) {
	return Instant{Boot: "b", Uptime: time.Hour + time.Since(m.began) + time.Duration(m.slept.Load())}, nil
}

// grant is one that was renewed now.
func (m *machine) grant(valid time.Duration) Grant {
	i, _ := m.now()
	return Grant{Node: "n", Renewed: i, Until: Instant{Boot: i.Boot, Uptime: i.Uptime + valid}}
}

// expiring runs fn beside an expirer with a period of 5 minutes, in time that passes when all wait.
func expiring(t *testing.T, fn func(t *testing.T, m *machine, path string)) string {
	t.Helper()
	var said book
	synctest.Test(t, func(t *testing.T) {
		m := &machine{began: time.Now()}
		path := filepath.Join(t.TempDir(), "gated")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- Expire(ctx, Options{Gated: path, Period: 5 * time.Minute, Log: said.log(), now: m.now})
		}()
		synctest.Wait()
		fn(t, m, path)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return said.String()
}

// staysFor is how long something is at the path from now on.
func staysFor(path string) time.Duration {
	began := time.Now()
	for there(path) && time.Since(began) < 24*time.Hour {
		time.Sleep(time.Second)
	}
	return time.Since(began)
}

func wantWithin(t *testing.T, got, least, most time.Duration) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("it stayed for %v; want %v to %v", got, least, most)
	}
}

// While the gate renews, the file stays; after that it is gone in two periods, and not before one and a half.
func TestExpire(t *testing.T) {
	said := expiring(t, func(t *testing.T, m *machine, path string) {
		for range 100 {
			writeGrant(t, path, m.grant(time.Hour))
			time.Sleep(5*time.Minute + 30*time.Second)
			if !there(path) {
				t.Fatal("it was removed while it was renewed")
			}
		}
		writeGrant(t, path, m.grant(time.Hour))
		wantWithin(t, staysFor(path), 7*time.Minute+30*time.Second, 10*time.Minute)
	})
	counts(t, said, map[string]int{"level=WARN": 1, "it has been the same for": 1, "level=ERROR": 0})
}

// The end of a grant counts when it is sooner, so that an expirer that starts again and again lets nothing stay.
func TestExpireByTheGrant(t *testing.T) {
	said := expiring(t, func(t *testing.T, m *machine, path string) {
		writeGrant(t, path, m.grant(3*time.Minute))
		wantWithin(t, staysFor(path), 3*time.Minute, 4*time.Minute)
		g := m.grant(time.Hour)
		g.Renewed.Boot, g.Until.Boot = "before", "before"
		writeGrant(t, path, g)
		wantWithin(t, staysFor(path), 0, time.Minute)
	})
	counts(t, said, map[string]int{"level=WARN": 2, "from before the last reboot": 1})
}

// What has no grant in it, as a file that somebody touched, counts from when it was seen, whatever its times and those of the clock.
func TestExpireWithoutAGrant(t *testing.T) {
	for _, modified := range []time.Time{time.Unix(1, 0), time.Now().Add(1000 * time.Hour)} {
		expiring(t, func(t *testing.T, m *machine, path string) {
			writeFile(t, path, "")
			if err := os.Chtimes(path, modified, modified); err != nil {
				t.Fatal(err)
			}
			wantWithin(t, staysFor(path), 7*time.Minute+30*time.Second, 10*time.Minute)
			mkdir(t, filepath.Join(path, "full"))
			wantWithin(t, staysFor(path), 7*time.Minute+30*time.Second, 10*time.Minute)
		})
	}
}

// A machine that slept for a night has no grant of the evening.
func TestExpireAfterSleep(t *testing.T) {
	expiring(t, func(t *testing.T, m *machine, path string) {
		writeFile(t, path, "")
		time.Sleep(time.Minute)
		m.slept.Store(int64(8 * time.Hour))
		wantWithin(t, staysFor(path), 0, time.Minute)
	})
}

// A file that is made anew has its own time.
func TestExpireOfAFileThatComesAndGoes(t *testing.T) {
	expiring(t, func(t *testing.T, m *machine, path string) {
		for range 10 {
			writeFile(t, path, "")
			time.Sleep(6 * time.Minute)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Minute)
		}
	})
}

func TestExpireRefuses(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "file"), "")
	var said book
	for _, c := range []struct {
		gated  string
		period time.Duration
		want   string
	}{
		{filepath.Join(dir, "gated"), 0, "at least"},
		{filepath.Join(dir, "none", "gated"), time.Minute, "mount the host's directory"},
		{filepath.Join(dir, "file", "gated"), time.Minute, "no directory"},
	} {
		wantError(t, Expire(t.Context(), Options{Gated: c.gated, Period: c.period, Log: said.log()}), c.want)
	}
}
