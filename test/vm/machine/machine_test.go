package machine

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What runs in a machine is tested by the tests of vm. Here QEMU does not get that far.
func TestRunReportsQEMU(t *testing.T) {
	empty, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	m := Machine{Kernel: "none", Initramfs: empty, Memory: 1, CPUs: 1}
	if _, _, err := m.Run(t.Context(), io.Discard); !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "qemu-system-x86") {
		t.Errorf("without QEMU: %v", err)
	}
	// A QEMU that complains, and one that sends a result and hangs.
	for name, c := range map[string]struct{ script, result, console, err string }{
		"complains": {"echo 'no kernel' >&2; exit 1", "", "no kernel", "the machine ended before the program in it did: exit status 1"},
		"stops":     {"exit 0", "", "nothing", "it stopped or restarted by itself"},
		"crashes":   {"echo >&3; exit 0", "", "nothing", "it stopped or restarted by itself"},
		"hangs":     {"echo oops >&2; echo >&3; echo '{}' >&3; exec /bin/sleep 600", "{}", "oops", ""},
	} {
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\n"+c.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		result, console, err := m.Run(t.Context(), io.Discard)
		if string(result) != c.result || !strings.Contains(console, c.console) {
			t.Errorf("%s: result %q, console %q", name, result, console)
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", name, err, c.err)
		}
	}
}

// A machine that does not get as far as its first process is started again, but not for ever.
func TestRunStartsAgain(t *testing.T) {
	empty, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	defer func(was time.Duration) { bootTime = was }(bootTime)
	bootTime = 200 * time.Millisecond
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	script := "#!/bin/sh\necho >>" + bin + "/starts; read a b <<E\n$(/usr/bin/wc -l " + bin + "/starts)\nE\n[ $a != \"$WELL\" ] || { echo >&3; echo '{}' >&3; }; exec /bin/sleep 600\n"
	if err := os.WriteFile(filepath.Join(bin, program), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for well, want := range map[string]error{"3": nil, "never": errBoot} {
		t.Setenv("WELL", well)
		if err := os.RemoveAll(filepath.Join(bin, "starts")); err != nil {
			t.Fatal(err)
		}
		m := Machine{Kernel: "none", Initramfs: empty, Memory: 1, CPUs: 1}
		if _, _, err := m.Run(t.Context(), io.Discard); !errors.Is(err, want) {
			t.Errorf("well at start %s: %v", well, err)
		}
		if starts, _ := os.ReadFile(filepath.Join(bin, "starts")); len(starts) != boots {
			t.Errorf("well at start %s: started %d times", well, len(starts))
		}
	}
}
