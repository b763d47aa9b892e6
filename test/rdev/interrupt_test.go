package rdev

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// serve starts an rdev-api with one project and returns the address, and that of the project.
func serve(t *testing.T) (address, project string) {
	t.Helper()
	dir := t.TempDir()
	socket, project := filepath.Join(dir, "s"), filepath.Join(dir, "web")
	if err := os.Mkdir(project, 0o755); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(programs.Path(t, "rdev-api"), "--socket", socket, "--project", project, "--listen", "", "--admin", "", "--state-dir", filepath.Join(dir, "state"))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("rdev-api: %v\n%s", err, log.String())
		}
	})
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return "unix://" + socket, project
		}
		if time.Since(begin) > patience {
			t.Fatalf("rdev-api does not answer: %v", err)
		}
	}
}

// stella is a stella that runs in the project.
func stella(t *testing.T, address, project string, args ...string) *exec.Cmd {
	cmd := exec.Command(programs.Path(t, "stella"), append([]string{"rdev"}, args...)...)
	cmd.Dir = project
	cmd.Env = append(os.Environ(), "STELLA_RDEV="+address, "TERM=xterm", "NO_COLOR=", "FORCE_COLOR=")
	return cmd
}

func code(t *testing.T, err error) int {
	t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return 0
}

// Ctrl-C cancels the command, and what it says on the way is seen; a second one does not wait.
func TestInterrupt(t *testing.T) {
	for name, tt := range map[string]struct {
		command string
		signals int
		want    string // after "up"
	}{
		"once":  {`trap "echo bye; exit 5" TERM; sleep 600 & echo up; wait`, 1, "bye\n"},
		"twice": {`trap "echo still" TERM; sleep 600 & echo up; while :; do wait; sleep 600 & done`, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, project := serve(t)
			cmd := stella(t, address, project, "run", "sh", "-c", tt.command)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			lines := bufio.NewReader(out)
			if line, err := lines.ReadString('\n'); line != "up\n" {
				t.Fatalf("%q, %v, %s", line, err, stderr.String())
			}
			cmd.Process.Signal(syscall.SIGINT)
			if tt.signals == 2 {
				if line, err := lines.ReadString('\n'); line != "still\n" {
					t.Fatalf("%q, %v", line, err)
				}
				time.Sleep(150 * time.Millisecond) // two that come together are one
				cmd.Process.Signal(syscall.SIGINT)
			}
			var rest bytes.Buffer
			rest.ReadFrom(lines)
			if got := code(t, cmd.Wait()); got != 130 || rest.String() != tt.want || stderr.Len() > 0 {
				t.Errorf("exit %d, %q, %q", got, rest.String(), stderr.String())
			}
			running := tt.signals == 2 // it has ten seconds for its end, and nobody waits here
			var list []byte
			// The end is in the output, which the command line follows, before it is in the list.
			for begin := time.Now(); time.Since(begin) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
				list, err = stella(t, address, project, "ps", "--no-headers").Output()
				if err != nil || running || strings.Contains(string(list), "cancelled") {
					break
				}
			}
			if err != nil || strings.Contains(string(list), "running") != running || strings.Contains(string(list), "cancelled") == running {
				t.Errorf("%v, %s", err, list)
			}
		})
	}
}

// On a terminal, the command is told so, and Ctrl-C is a key.
func TestTerminal(t *testing.T) {
	t.Parallel()
	address, project := serve(t)
	for _, tt := range []struct {
		env  string
		want []string
		not  []string
	}{
		{"", []string{"TERM=xterm", "COLUMNS=123", "FORCE_COLOR=1"}, []string{"NO_COLOR"}},
		{"NO_COLOR=1", []string{"TERM=xterm", "COLUMNS=123", "NO_COLOR=1"}, []string{"FORCE_COLOR"}},
	} {
		cmd := stella(t, address, project, "run", "env")
		cmd.Env = append(cmd.Env, tt.env)
		text := everything(startOnTerminal(t, cmd))
		if got := code(t, cmd.Wait()); got != 0 {
			t.Errorf("exit %d", got)
		}
		for _, want := range tt.want {
			if !strings.Contains(text, want+"\r\n") {
				t.Errorf("%s is not in %q", want, text)
			}
		}
		for _, not := range tt.not {
			if strings.Contains(text, not) {
				t.Errorf("%s is in %q", not, text)
			}
		}
	}

	cmd := stella(t, address, project, "run", "sleep", "600")
	master := startOnTerminal(t, cmd)
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		list, err := stella(t, address, project, "ps", "--status", "running", "--no-headers").Output()
		if err != nil || time.Since(begin) > patience {
			t.Fatalf("%v, %s", err, list)
		}
		if strings.Contains(string(list), "sleep 600") {
			break
		}
	}
	master.Write([]byte{3})
	everything(master)
	if got := code(t, cmd.Wait()); got != 130 {
		t.Errorf("exit %d", got)
	}
}

// everything reads until nobody has the terminal any more, which is an error.
func everything(master *os.File) string {
	var text bytes.Buffer
	text.ReadFrom(master)
	return text.String()
}

// startOnTerminal starts a command on a terminal of its own of 123 columns, and returns the other end of that.
func startOnTerminal(t *testing.T, cmd *exec.Cmd) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 123})
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return master
}
