package watch

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A parent that has used much memory must not make its child look large.
func TestRSSIsTheChildsNotTheParents(t *testing.T) {
	const parent = 64 << 20
	block := make([]byte, parent)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	cmd := exec.Command("sleep", "0.3")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := Start(cmd.Process.Pid, "")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	rss := RSS(cmd.ProcessState, w.Stop())
	if rss < 100<<10 || rss > 16<<20 {
		t.Errorf("peak RSS of sleep is %d bytes beside a parent of %d", rss, len(block))
	}
}

func TestDiskCountsNamedAndUnlinkedFilesOnce(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", `exec 8>b 9>&8; rm b; dd if=/dev/zero bs=4096 count=256 >&8 2>/dev/null
		dd if=/dev/zero of=a bs=4096 count=512 2>/dev/null; sleep 0.6`)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := Start(cmd.Process.Pid, dir)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := w.Stop().Disk, int64(3<<20); got < want || got > want+64<<10 {
		t.Errorf("%d bytes on disk, want %d", got, want)
	}
}

func TestOnlyUnlinkedFilesCount(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "named"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	before := unlinked("/proc/self/fd")
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if grown := unlinked("/proc/self/fd") - before; grown != 1<<20 {
		t.Errorf("unlinking a file of 1 MiB changed the figure by %d bytes", grown)
	}
}

func TestChooseRSS(t *testing.T) {
	if got := chooseRSS(50, 20, 49); got != 50 {
		t.Errorf("above the parent's: %d", got)
	}
	if got := chooseRSS(20, 20, 5); got != 5 {
		t.Errorf("passed on by the parent: %d", got)
	}
}

func TestParseHighWater(t *testing.T) {
	for text, want := range map[string]int64{"Name:\tx\nVmHWM:\t    1234 kB\nVmRSS:\t 1 kB\n": 1234 << 10, "Name:\tz\n": 0, "VmHWM: x kB\n": 0} {
		if got := parseHighWater(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
