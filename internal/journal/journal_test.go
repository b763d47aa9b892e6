package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/journal"
)

// open opens a journal and closes it at the end.
func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// records are all that a journal has, oldest first, read in both directions.
func records(t *testing.T, j *journal.Journal, dir string) (all []string, damaged int) {
	t.Helper()
	var back []string
	for _, s := range j.Segments() {
		n, err := j.Scan(s, func(r []byte, _ int64) { all = append(all, string(r)) })
		if err != nil {
			t.Fatal(err)
		}
		damaged += n
		var one []string
		if _, err := journal.Read(dir, s, nil, func(r []byte) bool {
			one = append(one, string(r))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		slices.Reverse(one)
		back = append(back, one...)
	}
	if diff := cmp.Diff(all, back); diff != "" {
		t.Errorf("forwards -, backwards +:\n%s", diff)
	}
	return all, damaged
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a journal with some records and returns them.
func write(t *testing.T, dir string) []string {
	t.Helper()
	j, err := journal.Open(dir)
	must(t, err)
	want := []string{"checkpoint"}
	must(t, j.Begin([]byte(want[0])))
	for i := range 5 {
		r := fmt.Sprintf(`{"record":%d,"text":"%s"}`, i, strings.Repeat("x", 3*i))
		must(t, j.Append([]byte(r)))
		want = append(want, r)
	}
	must(t, j.Close())
	return want
}

// Wherever a crash tears the end off, what is whole stays, and new records come behind it.
func TestTornAtEachByte(t *testing.T) {
	dir := t.TempDir()
	want := write(t, dir)
	file := journal.Path(dir, 1)
	text, err := os.ReadFile(file)
	must(t, err)
	for n := 0; n <= len(text); n++ {
		for _, garbage := range []string{"", "\x00\x00\x00", "0000"} {
			must(t, os.WriteFile(file, append(bytes.Clone(text[:n]), garbage...), 0o600))
			whole := bytes.Count(text[:n], []byte("\n"))
			j, err := journal.Open(dir)
			must(t, err)
			must(t, j.Append([]byte("new")))
			got, damaged := records(t, j, dir)
			if diff := cmp.Diff(append(slices.Clone(want[:whole]), "new"), got); diff != "" || damaged > 0 {
				t.Fatalf("torn at byte %d: %d damaged; want - got +:\n%s", n, damaged, diff)
			}
			must(t, j.Close())
		}
	}
}

// A byte that changed costs the line that it is in, or two where it was the end of one.
func TestDamagedAtEachByte(t *testing.T) {
	dir := t.TempDir()
	want := write(t, dir)
	file := journal.Path(dir, 1)
	text, err := os.ReadFile(file)
	must(t, err)
	last := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
	for n := range last {
		bad := bytes.Clone(text)
		bad[n] ^= 0x11
		must(t, os.WriteFile(file, bad, 0o600))
		j, err := journal.Open(dir)
		must(t, err)
		got, damaged := records(t, j, dir)
		lost := 1
		if text[n] == '\n' {
			lost = 2
		}
		if len(got) < len(want)-lost || len(got) == len(want) || damaged == 0 && n < bytes.LastIndexByte(text[:last-1], '\n') {
			t.Fatalf("byte %d: %d of %d records, %d damaged lines", n, len(got), len(want), damaged)
		}
		for _, r := range got {
			if !slices.Contains(want, r) {
				t.Fatalf("byte %d: %q was never written", n, r)
			}
		}
		must(t, j.Close())
	}
}

func TestNoteReplacesANote(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	must(t, j.Begin([]byte("c")))
	must(t, j.Note([]byte("first note")))
	must(t, j.Note([]byte("n2")))
	must(t, j.Note([]byte("the third note")))
	must(t, j.Append([]byte("record")))
	must(t, j.Note([]byte("n4")))
	size := j.Bytes()
	for range 100 {
		must(t, j.Note([]byte("n5")))
	}
	got, damaged := records(t, j, dir)
	if diff := cmp.Diff([]string{"c", "the third note", "record", "n5"}, got); diff != "" || damaged > 0 || j.Bytes() != size {
		t.Errorf("%d damaged, %d bytes; want - got +:\n%s", damaged, j.Bytes(), diff)
	}
}

func TestSegments(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if err := j.Append([]byte("x")); err == nil {
		t.Error("a record was appended to no segment")
	}
	for i := range 5 {
		must(t, j.Begin(fmt.Appendf(nil, "checkpoint %d", i), []byte("with it")))
		must(t, j.Append([]byte("x")))
		must(t, j.Syncer()())
	}
	all := j.Segments()
	must(t, j.Drop(func(s journal.Segment, bytes int64) bool { return bytes > 3*all[0].Size }))
	if got := j.Segments(); len(got) != 3 || got[0].Number != 3 {
		t.Fatalf("left are %+v", got)
	}
	must(t, j.Drop(func(journal.Segment, int64) bool { return true }))
	if got := j.Segments(); len(got) != 1 || got[0].Number != 5 {
		t.Fatalf("left are %+v", got)
	}
	first, err := j.First(j.Segments()[0])
	if string(first) != "checkpoint 4" || err != nil {
		t.Errorf("the checkpoint is %q, %v", first, err)
	}
	// What was dropped while somebody read it is empty.
	if _, err := journal.Read(dir, all[0], nil, func([]byte) bool { t.Error("a record"); return true }); err != nil {
		t.Error(err)
	}
	must(t, j.Close())
	j = open(t, dir)
	must(t, j.Begin([]byte("next")))
	if got := j.Last(); got != 6 {
		t.Errorf("the next segment is %d", got)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
}

func TestSecondWriterIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := journal.Open(dir); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("it was opened twice: %v", err)
	}
}

func TestRecordIsBounded(t *testing.T) {
	j := open(t, t.TempDir())
	must(t, j.Begin(nil))
	if err := j.Append(make([]byte, journal.MaxRecord+1)); err == nil {
		t.Error("a record of any length was taken")
	}
}

// A directory that comes later is used, unless it has another journal.
func TestDirectoryThatComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	must(t, os.WriteFile(dir, nil, 0o600)) // a file in its place
	j, err := journal.Open(dir)
	if err == nil {
		t.Fatal("a file was opened as a directory")
	}
	defer j.Close()
	if err := j.Begin([]byte("c")); err == nil {
		t.Fatal("written to a file in the place of a directory")
	}
	must(t, os.Remove(dir))
	write(t, dir)
	if err := j.Begin([]byte("c")); err == nil || !strings.Contains(err.Error(), "start again") {
		t.Errorf("it goes on in another journal: %v", err)
	}
	must(t, os.RemoveAll(dir))
	must(t, j.Begin([]byte("c")))
	must(t, j.Append([]byte("r")))
	if got, _ := records(t, j, dir); len(got) != 2 {
		t.Errorf("records %q", got)
	}
}

// Whatever is in a file, opening takes what is whole, and what was appended then is there.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	file := journal.Path(dir, 1)
	j, err := journal.Open(dir)
	if err == nil {
		err = errors.Join(j.Begin([]byte("c")), j.Append([]byte("{}")), j.Close())
	}
	if err != nil {
		f.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(append(text, text[:7]...))
	f.Add([]byte("\n\n00000000 \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		must(t, os.WriteFile(file, text, 0o600))
		j := open(t, dir)
		before, _ := records(t, j, dir)
		must(t, j.Append([]byte("new")))
		must(t, j.Close())
		after, _ := records(t, open(t, dir), dir)
		if diff := cmp.Diff(append(before, "new"), after); diff != "" {
			t.Errorf("want - got +:\n%s", diff)
		}
	})
}
