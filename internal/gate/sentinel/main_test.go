package sentinel

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// actEnv has the test binary be one of the two processes: "gate" or "expire", of the file that is its argument.
const actEnv = "STELLA_TEST_SENTINEL"

// period is that of the processes: long enough for a busy machine to renew in time.
const period = time.Second

// TestMain is a gate that stays open, or an expirer, where a test starts it as one.
func TestMain(m *testing.M) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch os.Getenv(actEnv) {
	case "gate":
		f, err := Open(os.Args[1], log)
		for ; err == nil; time.Sleep(period / 4) {
			err = f.Allow(Grant{Node: "n"}, period*3/2)
		}
		log.Error(err.Error())
		os.Exit(1)
	case "expire":
		log.Error("ended", "why", Expire(context.Background(), Options{Gated: os.Args[1], Period: period, Log: log}))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// book keeps what was logged.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *book) log() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// open opens a gated file in a directory of its own.
func open(t *testing.T) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gated")
	f, err := Open(path, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return f, path
}

func allow(t *testing.T, f *File) {
	t.Helper()
	if err := f.Allow(Grant{Node: "n"}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func now(t *testing.T) Instant {
	t.Helper()
	i, err := Now()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeGrant(t *testing.T, path string, g Grant) {
	t.Helper()
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(text))
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// only checks what a directory has.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("in the directory: %q, want %q", got, want)
	}
}

// there reports whether anything is at a path, as kured asks.
func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q says nothing of %q", err, w)
		}
	}
}
