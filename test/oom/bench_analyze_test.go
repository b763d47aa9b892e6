package oom

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"stella/bench/daemon"
	"stella/internal/bytesize"
	"stella/internal/oom/corpus"
)

// analyze is what it costs to find the kills in a large kernel log, in a process of its own.
func (p programs) analyze(t *testing.T) {
	name := filepath.Join(t.TempDir(), "kernel.log")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	kills, err := corpus.Long(f, *benchLog)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out := table{{fmt.Sprintf("`stella oom analyze` of %s with %d kills", bytesize.Text(*benchLog), kills), "MB for each second of a core", "took", "highest resident"}}
	for _, format := range []string{"table", "table", "table", "json"} {
		begin := time.Now()
		text, cpu, peak := p.find(t, name, format)
		out.add("-o "+format, fmt.Sprintf("%.0f", float64(*benchLog)/1e6/cpu.Seconds()), time.Since(begin).Round(10*time.Millisecond).String(), bytesize.Text(peak))
		if found := map[string]int{"table": bytes.Count(text, []byte(" java[")), "json": bytes.Count(text, []byte(`"confidence"`))}[format]; found != kills {
			t.Errorf("-o %s tells of %d kills, want %d", format, found, kills)
		}
	}
	fmt.Print("\n", out)
}

// find analyses a log, and returns what that says, the processor time that it took, and the highest resident set, both with
// all that a process needs for itself.
func (p programs) find(t *testing.T, log, format string) (text []byte, cpu time.Duration, peak int64) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(string(p), "stella"), "oom", "analyze", log, "-o", format)
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	// What wait(2) says of the resident set is also of what this process was before it was the program.
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			if u, err := daemon.UsageOf(cmd.Process.Pid); err == nil {
				peak = u.Peak
			}
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			return out.Bytes(), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), peak
		}
	}
}
