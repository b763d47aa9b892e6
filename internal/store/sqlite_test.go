package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stella/internal/store"
)

func openFile(t testing.TB, path string) (*store.DB, error) {
	return store.Open(t.Context(), store.Options{URL: "sqlite:" + path, Log: slog.New(slog.DiscardHandler)})
}

func TestSecondProcessIsToldWhoHasIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	db := migrated(t, "sqlite:"+path)
	_, err := openFile(t, path)
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), fmt.Sprintf("process %d on ", os.Getpid())) {
		t.Errorf("got %v", err)
	}
	if err := insert(t, db, 1); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := openFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// Who was killed while it started another process has left its lock to that one, for a moment. Whoever comes next waits for it.
func TestLockThatWasLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	lock, err := os.Create(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "0.2")
	child.ExtraFiles = []*os.File{lock}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lock.Close() // the child has it alone
	db, err := openFile(t, path)
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheOwnerReadsTheFiles(t *testing.T) {
	dir := t.TempDir()
	if err := insert(t, migrated(t, "sqlite:"+filepath.Join(dir, "a.db")), 1); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 { // with the lock, the write-ahead log and its index
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

func TestOddPaths(t *testing.T) {
	for _, name := range []string{"a b.db", "a?b=c.db", "a#b.db", "a%41b.db", "ü.db", "file:x"} {
		path := filepath.Join(t.TempDir(), name)
		if err := insert(t, migrated(t, "sqlite:"+path), 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none", "a.db")
	if _, err := openFile(t, missing); err == nil || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "directory") {
		t.Errorf("got %v", err)
	}
	if _, err := openFile(t, "/proc/a.db"); err == nil || !strings.Contains(err.Error(), "/proc/a.db") {
		t.Errorf("got %v", err)
	}
}

// A file that is damaged is left as it is, and the error says what can be done.
func TestDamagedFile(t *testing.T) {
	healthy := filepath.Join(t.TempDir(), "healthy.db")
	db := migrated(t, "sqlite:"+healthy)
	for n := range 2000 {
		if err := insert(t, db, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(healthy)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) < 5*4096 {
		t.Fatalf("the file has only %d bytes", len(content))
	}
	for what, damaged := range map[string][]byte{
		"text":       []byte(strings.Repeat("this is no database\n", 1000)),
		"cut":        content[:len(content)/2],
		"zeros":      append(bytes.Clone(content[:100]), make([]byte, len(content)-100)...),
		"page":       overwritten(content, len(content)-4096, 4096),
		"no header":  overwritten(content, 0, 100),
		"first page": overwritten(content, 100, 3000),
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.db")
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			err := use(t, path)
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), ".recover") {
				t.Errorf("got %v, want ErrCorrupt", err)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, damaged) {
				t.Errorf("the file was changed, %v", err)
			}
		})
	}
}

func overwritten(content []byte, offset, n int) []byte {
	damaged := bytes.Clone(content)
	for i := range n {
		damaged[offset+i] = 0xA5
	}
	return damaged
}

// use opens a database and reads all that is in it.
func use(t *testing.T, path string) error {
	db, err := openFile(t, path)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Migrate(t.Context(), files(schema), "test_schema"); err != nil {
		return err
	}
	return db.Read(t.Context(), func(tx *store.Tx) error {
		var sum int
		_, err := tx.Get(t.Context(), `SELECT sum(n) FROM a`, nil, &sum)
		return err
	})
}
