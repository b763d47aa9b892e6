package outlog_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

// there says which of the logs c0, c1, … are there.
func there(t *testing.T, s *outlog.Store, n int) string {
	t.Helper()
	var all []byte
	for i := range n {
		id := fmt.Sprintf("c%d", i)
		_, err := s.Log(id)
		if s.Has(id) != (err == nil) {
			t.Errorf("%s is there: %v, and to be opened: %v", id, s.Has(id), err)
		}
		switch {
		case err == nil:
			all = append(all, 'x')
		case errors.Is(err, fs.ErrNotExist):
			all = append(all, '-')
		default:
			t.Fatal(err)
		}
	}
	return string(all)
}

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o := outlog.Options{MaxAge: 10 * time.Hour}
		s := openIn(t, dir, o)
		for i := range 5 {
			l := create(t, s, fmt.Sprintf("c%d", i), outlog.Limits{})
			l.Writer(rdev.Stdout).Write([]byte("one\n"))
			if i != 2 { // which goes on
				end(t, l)
			}
			time.Sleep(time.Hour)
		}
		time.Sleep(6*time.Hour + time.Minute)
		synctest.Wait()
		if got := there(t, s, 5); got != "--xxx" {
			t.Errorf("after 11 hours there is %s", got)
		}
		if got := s.Stats(); got.RemovedForAge != 2 || got.Logs != 2 || got.Writing != 1 {
			t.Errorf("%+v", got)
		}
		s.Close()
		time.Sleep(2 * time.Hour)
		// The one without an end is as old as its file, which a false clock did not write.
		if err := os.Chtimes(dir+"/c2.log", time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := there(t, openIn(t, dir, o), 5); got != "--x-x" {
			t.Errorf("opened again after 13 hours there is %s", got)
		}
	})
}

func TestSpace(t *testing.T) {
	dir := t.TempDir()
	o := outlog.Options{MaxBytes: 5 << 20}
	s := openIn(t, dir, o)
	mega := make([]byte, 1<<20)
	var running []*outlog.Log
	for i := range 9 {
		l := create(t, s, fmt.Sprintf("c%d", i), outlog.Limits{Bytes: 1 << 20})
		l.Writer(rdev.Stdout).Write(mega)
		if i < 7 {
			end(t, l)
		} else {
			running = append(running, l)
		}
		if got := s.Stats(); got.Bytes > o.MaxBytes {
			t.Fatalf("with %d logs: %+v", i, got)
		}
	}
	if got := there(t, s, 9); got != "----xxxxx" {
		t.Errorf("there is %s", got)
	}
	// One that is being read while it goes is read to its end, or not at all.
	oldest, err := s.Log("c4")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		running = append(running, create(t, s, fmt.Sprintf("d%d", i), outlog.Limits{Bytes: 1 << 20}))
	}
	if _, err := oldest.Read(0, make([]byte, outlog.MinBuffer), func(outlog.Record) bool { return true }); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read what was removed: %v", err)
	}
	if _, err := s.Create("e", outlog.Limits{}); !errors.Is(err, outlog.ErrNoRoom) {
		t.Errorf("more than there is room for: %v", err)
	}
	if got := s.Stats(); got.Logs != 0 || got.Writing != 5 || got.RemovedForSpace != 7 {
		t.Errorf("%+v", got)
	}
	for _, l := range running {
		end(t, l)
	}
	before := s.Stats().Bytes
	s.Close()
	// With less room, what is too much goes when the directory is opened.
	s = openIn(t, dir, outlog.Options{MaxBytes: before / 2})
	if got := s.Stats(); got.Bytes > before/2 || got.Bytes == 0 {
		t.Errorf("%+v", got)
	}
	var size int64
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if err != nil || size != s.Stats().Bytes {
		t.Errorf("%d bytes on the disk, %d counted: %v", size, s.Stats().Bytes, err)
	}
}

// Files are closed when nobody has read them for a while, and few wait for that.
func TestOpenFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, outlog.Options{})
		const logs = 200
		var all []*outlog.Log
		for i := range logs {
			l := create(t, s, fmt.Sprintf("c%d", i), outlog.Limits{})
			l.Writer(rdev.Stdout).Write([]byte("one\n"))
			all = append(all, l)
		}
		if n := s.Stats().Files; n != logs {
			t.Errorf("%d files are open for %d logs that are written", n, logs)
		}
		for _, l := range all {
			end(t, l)
		}
		for range 2 {
			for _, l := range all {
				read(t, l, 0, outlog.MinBuffer, false)
			}
		}
		if n := s.Stats().Files; n == 0 || n > 64 {
			t.Errorf("%d files are open that nobody uses", n)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		if n := s.Stats().Files; n != 0 {
			t.Errorf("%d files are open after a while", n)
		}
	})
}
