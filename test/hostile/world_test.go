package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
)

// world is a directory in which a scan has all that it may write, and some
// that it may not. Everything in it is compared before and after.
type world struct {
	t      *testing.T
	stella string
	root   string
	// tmp, cache and out may be written to; the scan is started in cwd.
	tmp, cache, out, cwd string
	memory               int64
	uid                  uint32 // 0: as this process
}

func newWorld(t *testing.T, stella string) *world {
	w := &world{t: t, stella: stella, root: t.TempDir(), memory: limit}
	for name, p := range map[string]*string{"tmp": &w.tmp, "cache": &w.cache, "out": &w.out, "cwd": &w.cwd} {
		*p = filepath.Join(w.root, name)
		if err := os.Mkdir(*p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// outcome is what a scan left.
type outcome struct {
	exit     int
	rss      int64 // peak, in bytes
	message  string
	document bool // there is one
	complete bool
	problems int
	counts   map[string]int
	purls    map[string]bool
	raw      []byte
}

// has reports whether a package URL is found, or one that begins like it.
func (o *outcome) has(purl string) bool {
	if o.purls[purl] {
		return true
	}
	for p := range o.purls {
		if strings.HasPrefix(p, purl) {
			return true
		}
	}
	return false
}

// scan scans into the native JSON, and checks what is true of every scan.
func (w *world) scan(ref string, args ...string) *outcome {
	w.t.Helper()
	return w.check(ref, append([]string{"--cache-dir", w.cache}, args...)...)
}

// scanWithoutCache keeps the results of layers in the temporary directory.
func (w *world) scanWithoutCache(ref string) *outcome {
	w.t.Helper()
	return w.check(ref, "--no-cache")
}

func (w *world) check(ref string, args ...string) *outcome {
	t := w.t
	t.Helper()
	doc := filepath.Join(w.out, "sbom.json")
	args = append([]string{"scan", "image", ref, "--tmp-dir", w.tmp, "--progress", "none", "--platform", "linux/amd64", "-o", "json=" + doc}, args...)
	before := w.tree()
	o := w.run(args)
	if after := w.tree(); after != before {
		t.Errorf("written outside the directories given:\n%s\nwas\n%s", after, before)
	}
	left, err := os.ReadDir(w.tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v, %v", left, err)
	}
	if o.rss > w.memory {
		t.Errorf("peak RSS of %d KiB is beyond %d MiB", o.rss>>10, w.memory>>20)
	}
	o.read(t, doc)
	return o
}

// tree lists all of the world that a scan may not change.
func (w *world) tree() string {
	var b strings.Builder
	err := filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == w.tmp || path == w.cache || path == w.out {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v %d %v\n", path, info.Mode(), info.Size(), info.ModTime())
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

// run starts stella under the limit, where this process may set one.
func (w *world) run(args []string) *outcome {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, w.stella, args...)
	cmd.Dir, cmd.Stderr = w.cwd, &stderr
	cmd.Env = []string{"HOME=" + w.cwd, "TMPDIR=" + w.cwd, "PATH=" + os.Getenv("PATH")}
	if w.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: w.uid, Gid: w.uid}}
	}
	g, err := cgroup.New("hostile", cgroup.Limit{Memory: w.memory})
	switch {
	case errors.Is(err, cgroup.ErrUnsupported):
		t.Logf("without a limit of the kernel's: %v", err)
		err = cmd.Start()
	case err != nil:
		t.Fatal(err)
	default:
		defer g.Close()
		err = g.Start(cmd)
	}
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	peak := watch(cmd.Process.Pid)
	err = cmd.Wait()
	o := &outcome{rss: peak(), message: stderr.String(), exit: cmd.ProcessState.ExitCode()}
	t.Logf("exit code %d, peak RSS %.1f MiB, %v, CPU %v", o.exit, float64(o.rss)/(1<<20), time.Since(start).Round(time.Millisecond),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Millisecond))
	if g != nil {
		if st, serr := g.Stats(); serr != nil || st.OOMKills > 0 {
			t.Fatalf("killed %d times in %d MiB (%v)", st.OOMKills, st.Limit>>20, serr)
		}
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil || o.exit < 0 {
		t.Fatalf("%v, %v\n%s", err, ctx.Err(), o.message)
	}
	if strings.Contains(o.message, "panic") || strings.Contains(o.message, "goroutine ") {
		t.Errorf("it panicked: %s", o.message)
	}
	return o
}

// watch reads the high-water mark of a process until the returned function is
// called, which returns the last. It takes the name to be sure that exec is done.
func watch(pid int) func() int64 {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		start := time.Now()
		var peak int64
		for {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			var kib int64
			if _, after, ok := strings.Cut(string(b), "VmHWM:"); ok && strings.HasPrefix(string(b), "Name:\tstella\n") {
				fmt.Sscan(after, &kib)
			}
			peak = max(peak, kib<<10)
			select {
			case <-time.After(min(3*time.Millisecond, 200*time.Microsecond+time.Since(start)/100)):
			case <-stop:
				result <- peak
				return
			}
		}
	}()
	return func() int64 { close(stop); return <-result }
}

// read reads the document, if there is one.
func (o *outcome) read(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Complete   bool           `json:"complete"`
		Problems   []struct{}     `json:"problems"`
		Counts     map[string]int `json:"counts"`
		Components []struct {
			Purl string `json:"purl"`
		} `json:"components"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatalf("the document is not JSON: %v", err)
	}
	o.document, o.complete, o.problems, o.counts, o.raw = true, doc.Complete, len(doc.Problems), doc.Counts, b
	o.purls = make(map[string]bool, len(doc.Components))
	for _, c := range doc.Components {
		o.purls[c.Purl] = true
	}
}
