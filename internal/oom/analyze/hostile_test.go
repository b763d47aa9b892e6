package analyze_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/analyze"
)

// What cannot be read is named, with what to do, and the rest is read.
func TestUnread(t *testing.T) {
	dir := t.TempDir()
	deep := []byte(dmesg)
	for range 6 {
		deep = squeeze(t, deep)
	}
	for name, b := range map[string][]byte{
		"a.log": []byte(dmesg), "b.tar": append(pack(t, false)[:1024], bytes.Repeat([]byte("x"), 600)...), "c.gz": []byte("\x1f\x8b\x08 no gzip"), "d.zst": []byte("\x28\xb5\x2f\xfd..."),
		"e.json": []byte(`{"apiVersion":"v1","items":[{"metadata":{"name":7}}]}`), "f.json": []byte(`{"apiVersion":"v1","kind":"Pod"}`), "g.gz": deep, "empty": nil,
		"h.gz": squeeze(t, bytes.Repeat([]byte("x\n"), 100_000))[:100], // cut off
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	a := analyze.New(analyze.Options{})
	if err := a.Path(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	r := a.Result()
	var names []string
	for _, u := range r.Unread {
		names = append(names, filepath.Base(u.Name))
		if u.Reason == "" {
			t.Errorf("%s: no reason", u.Name)
		}
	}
	if got, want := strings.Join(names, " "), "b.tar c.gz d.zst e.json f.json g.gz h.gz"; got != want {
		t.Errorf("not read: %s; want %s", got, want)
	}
	if len(r.Kills) != 1 {
		t.Errorf("%+v", r.Kills)
	}
	err := a.Path(t.Context(), filepath.Join(dir, "nothing"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := a.Path(t.Context(), "/dev/null"); err == nil {
		t.Error("a device is read")
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := analyze.New(analyze.Options{})
	if err := a.Path(ctx, bundle); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := a.Reader(ctx, "r", strings.NewReader(dmesg), time.Time{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A result is bounded, and says what it left out.
func TestBounds(t *testing.T) {
	const many = analyze.MaxKills + 500
	pr, pw := io.Pipe()
	go func() {
		for i := range many {
			at, pids := float64(i%3000), make([]int, 40)
			if i > 1000 { // by then there is no more room for tables
				pids = pids[:1]
			}
			for j := range pids {
				pids[j] = i + 1 + j
			}
			fmt.Fprint(pw, header(at, inPod(one), inPod(one), i+1), table(at, pids...), killed(at, i+1))
		}
		pw.Close()
	}()
	a := analyze.New(analyze.Options{})
	if err := a.Reader(t.Context(), strings.Repeat("n", 5000), pr, time.Time{}); err != nil {
		t.Fatal(err)
	}
	var notices strings.Builder
	for i := range 10_100 {
		notices.WriteString(taskOOM(fmt.Sprintf("%064x", i), float64(i%3000)))
	}
	if err := a.Reader(t.Context(), "notices", strings.NewReader(notices.String()), time.Time{}); err != nil {
		t.Fatal(err)
	}
	r := a.Result()
	rows := 0
	for _, k := range r.Kills {
		rows += len(k.Tasks)
	}
	if len(r.Kills) != analyze.MaxKills || rows > 24<<10 || rows < 20<<10 || len(r.Sources[0].Name) > 512 {
		t.Errorf("%d kills, %d rows, a name of %d bytes", len(r.Kills), rows, len(r.Sources[0].Name))
	}
	if r.Totals.LeftOut < 600 || r.Totals.Told != many || !strings.Contains(strings.Join(r.Missing, "\n"), "left out") {
		t.Errorf("left out %d, told %d, missing %q", r.Totals.LeftOut, r.Totals.Told, r.Missing)
	}
	if i := slices.IndexFunc(r.Kills, func(k oom.Kill) bool { return k.Process.PID == 1001 }); i < 0 || len(r.Kills[i].Tasks) != 0 || r.Kills[i].TasksLeftOut != 40 {
		t.Errorf("the table of a late kill: %+v", r.Kills[max(i, 0)])
	}
}

// Memory does not depend on how long a log is, nor on how many pods and files there are beyond the bounds.
func TestMemoryIsFlat(t *testing.T) {
	peak := func(megabytes int) uint64 {
		noise := strings.Repeat("May  1 16:00:01 n app[1]: nothing that is of interest, some 100 bytes of it in every line of this log\n", 10_000)
		runtime.GC()
		var most uint64
		a := analyze.New(analyze.Options{})
		r := &repeated{text: noise, left: megabytes << 20, each: func() {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}}
		if err := a.Reader(t.Context(), "big", r, time.Time{}); err != nil {
			t.Fatal(err)
		}
		return most
	}
	small, large := peak(8), peak(200)
	if large > small+4<<20 {
		t.Errorf("%d bytes of heap for 8 MiB, %d for 200 MiB", small, large)
	}
}

// repeated is a text again and again.
type repeated struct {
	text     string
	at, left int
	each     func()
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	if r.at == len(r.text) {
		r.at = 0
		r.each()
	}
	n := copy(p, r.text[r.at:])
	r.at, r.left = r.at+n, r.left-n
	return n, nil
}

func TestGarbage(t *testing.T) {
	random := rand.New(rand.NewChaCha8([32]byte{1}))
	garbage := make([]byte, 1<<20)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	r := text(t, analyze.Options{}, string(garbage)+"\n"+dmesg, strings.Repeat("x", 3<<20)+"\n"+strings.Replace(dmesg, "process 7", "process 8", 1))
	if len(r.Kills) != 2 {
		t.Errorf("%+v", r.Kills)
	}
}

// However logs are put together, nothing panics, and every kill is graded, says whence it is known, and has an id of its own.
func FuzzReader(f *testing.F) {
	for _, log := range []string{dmesg, journal, syslog, header(1, "/a", "/a", 7) + killed(1, 7), taskOOM(one, 1), podList("{}")} {
		f.Add([]byte(log), []byte(log))
	}
	f.Add(pack(f, false), squeeze(f, []byte(dmesg)))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		a := analyze.New(analyze.Options{})
		for _, log := range [][]byte{first, second, first} {
			if err := a.Reader(t.Context(), "x", bytes.NewReader(log), time.Time{}); err != nil {
				t.Fatal(err)
			}
		}
		r := a.Result()
		ids := map[string]bool{}
		for _, k := range r.Kills {
			if ids[k.ID] || k.ID == "" || len(k.Witnesses) == 0 || k.Confidence == "" || k.Limit.Scope == "" || k.Count != 1 || (k.Confidence != oom.Certain) != (k.Doubt != "") {
				t.Fatalf("%+v", k)
			}
			ids[k.ID] = true
		}
		if got := r.Totals.Certain + r.Totals.Strong + r.Totals.Weak; got != int64(len(r.Kills)) {
			t.Fatalf("%d kills, and %d in all", len(r.Kills), got)
		}
	})
}
