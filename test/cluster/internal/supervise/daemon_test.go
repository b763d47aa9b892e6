package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// testDaemons are those of a node without anything else. The test's goroutine
// keeps its thread, with which they would die.
func testDaemons(t *testing.T) *daemons {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, Logs), 0o700); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	d := newDaemons(dir)
	t.Cleanup(d.kill)
	return d
}

// What went wrong is at the end of a log, which is what the error shows.
func TestADaemonThatEndsIsReported(t *testing.T) {
	d := testDaemons(t)
	script := fmt.Sprintf("yes noise | head -n %d; echo cause in $PWD; echo said in anger >&2; exit 3", 100*tailBytes)
	if err := d.start("etcd", "/bin/sh", "-c", script); err != nil {
		t.Fatal(err)
	}
	err := <-d.ended
	for _, want := range []string{"etcd ended (exit status 3)", "noise\ncause in " + d.dir + "\nsaid in anger"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in:\n%v", want, err)
		}
	}
	if len(err.Error()) > tailBytes+200 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestKillEndsAllDaemons(t *testing.T) {
	d := testDaemons(t)
	for _, name := range []string{"one", "two"} {
		// A daemon that would not end when asked to.
		if err := d.start(name, "/bin/sh", "-c", "trap '' TERM INT HUP; while :; do sleep 1000; done"); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.start("ended", "/bin/true"); err != nil {
		t.Fatal(err)
	}
	if err := <-d.ended; !strings.Contains(err.Error(), "ended ended (exit status 0)") {
		t.Error(err)
	}
	d.kill()
	d.kill() // again: as well
	for name, one := range d.all {
		<-one.done
		if state := one.cmd.ProcessState.String(); name != "ended" && state != "signal: killed" {
			t.Errorf("%s: %s", name, state)
		}
	}
	select {
	case err := <-d.ended:
		t.Errorf("killed on purpose, and reported as: %v", err)
	default:
	}
}

// A daemon that ended or was stopped can be started again, and its log goes on.
func TestStopAndStartAgain(t *testing.T) {
	d := testDaemons(t)
	if err := d.start("kubelet", "/bin/sh", "-c", "echo first words; exit 2"); err != nil {
		t.Fatal(err)
	}
	<-d.ended
	if err := d.start("kubelet", "/bin/sh", "-c", "exec sleep 1000"); err != nil {
		t.Fatal(err)
	}
	d.stop("kubelet")
	if err := d.start("kubelet", "/bin/sh", "-c", "echo last words; exit 1"); err != nil {
		t.Fatal(err)
	}
	if err := <-d.ended; !strings.HasSuffix(err.Error(), "\nfirst words\nlast words") || !strings.Contains(err.Error(), "exit status 1") {
		t.Error(err)
	}
}

func TestADaemonThatDoesNotStart(t *testing.T) {
	d := testDaemons(t)
	if err := d.start("etcd", filepath.Join(d.dir, "none")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "start etcd") {
		t.Errorf("no program: %v", err)
	}
	if err := d.start("none/etcd", "/bin/true"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "none/etcd.log") {
		t.Errorf("no place for a log: %v", err)
	}
}

func TestTail(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	for content, want := range map[string]string{
		"":                                   "",
		"\n\n":                               "",
		"one\ntwo\n":                         "one\ntwo",
		strings.Repeat("x", tailBytes):       strings.Repeat("x", tailBytes),
		"y" + strings.Repeat("x", tailBytes): strings.Repeat("x", tailBytes),
		strings.Repeat("noise\n", 1<<20) + "cause\n": strings.Repeat("noise\n", 1<<20)[6<<20-(tailBytes-6):] + "cause",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := tail(name); got != strings.TrimSpace(want) {
			t.Errorf("%d bytes: want %d, got %d", len(content), len(want), len(got))
		}
	}
	if got := tail(name + ".none"); !strings.Contains(got, "no such file") {
		t.Errorf("no log: %q", got)
	}
}
