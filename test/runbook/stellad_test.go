package runbook

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"stella/internal/cgroup"
)

// patience bounds what is waited for: on a busy machine, or one that hashes slowly, a scan takes a while.
const patience = time.Minute

// key finds the world of a script.
type key struct{}

// world is what a script has.
type world struct {
	stellad *exec.Cmd
	done    chan struct{} // closed when it has ended
	admin   string        // address of its metrics and health
	code    int           // exit code of the last line that sh ran
	// interrupted is a command in the background that got a Ctrl-C after that.
	interrupted *exec.Cmd
	open        func() // lets the script's registry give layers
}

func of(ts *testscript.TestScript) *world { return ts.Value(key{}).(*world) }

// stellad is the command "stellad start [FLAG...] | stop | kill | interrupt".
func stellad(ts *testscript.TestScript, neg bool, args []string) {
	w := of(ts)
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: stellad start [FLAG...] | stop | kill | interrupt")
	case args[0] == "start":
		w.start(ts, args[1:])
	case w.stellad == nil:
		ts.Fatalf("stellad does not run")
	case args[0] == "stop":
		w.end(ts, syscall.SIGTERM)
	case args[0] == "interrupt":
		w.end(ts, syscall.SIGINT)
	case args[0] == "kill":
		w.end(ts, syscall.SIGKILL)
	default:
		ts.Fatalf("stellad: unknown %s", args[0])
	}
}

var readyLine = regexp.MustCompile(`msg=ready .* admin=(\S+)`)

// start starts a stellad with the script's data directory and socket, and waits
// until it answers. What it writes is in the script's stellad.log.
func (w *world) start(ts *testscript.TestScript, args []string) {
	if w.stellad != nil {
		ts.Fatalf("stellad runs already")
	}
	socket := ts.MkAbs("s.sock")
	args = append([]string{"--data-dir", ts.MkAbs("data"), "--socket", socket, "--admin", "127.0.0.1:0"}, args...)
	log, err := os.OpenFile(ts.MkAbs("stellad.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	cmd := exec.Command(ts.Getenv("BIN")+"/stellad", args...)
	cmd.Dir = ts.Getenv("WORK")
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	w.stellad, w.done, w.admin = cmd, make(chan struct{}), ""
	ts.Setenv("STELLA_SERVER", "unix://"+socket)
	ts.Defer(func() { w.cleanUp(ts, cmd) })

	ready := make(chan string, 1)
	go func() {
		defer close(w.done)
		defer log.Close()
		lines := bufio.NewReader(io.TeeReader(stderr, log))
		for {
			line, err := lines.ReadString('\n')
			if m := readyLine.FindStringSubmatch(line); m != nil {
				ready <- m[1]
			}
			if err != nil {
				_ = cmd.Wait() // how it ended is in ProcessState
				return
			}
		}
	}()
	select {
	case w.admin = <-ready:
		ts.Setenv("ADMIN", w.admin)
	case <-w.done:
		w.stellad = nil
		ts.Fatalf("stellad ended: %v\n%s", cmd.ProcessState, ts.ReadFile("stellad.log"))
	case <-time.After(patience):
		ts.Fatalf("stellad is not ready after %v\n%s", patience, ts.ReadFile("stellad.log"))
	}
}

// cleanUp ends a stellad that the script has left running, and removes the cgroups
// of one that it has killed and not started again, because it failed.
func (w *world) cleanUp(ts *testscript.TestScript, cmd *exec.Cmd) {
	if w.stellad == cmd {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-w.done:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-w.done
		}
	}
	sum := sha256.Sum256([]byte(ts.MkAbs("data"))) // as server names them
	if n, err := cgroup.RemoveLeft(fmt.Sprintf("worker-%x", sum[:4])); err != nil || n > 0 {
		ts.Logf("cgroups of workers that were left: %d removed, %v", n, err)
	}
}

// end ends stellad and waits for it. Asked to end, it must end well.
func (w *world) end(ts *testscript.TestScript, s syscall.Signal) {
	ts.Check(w.stellad.Process.Signal(s))
	select {
	case <-w.done:
	case <-time.After(patience):
		ts.Fatalf("stellad runs on %v after %v", patience, s)
	}
	state := w.stellad.ProcessState
	w.stellad = nil
	if s != syscall.SIGKILL && !state.Success() {
		ts.Fatalf("stellad ended with %v after %v\n%s", state, s, ts.ReadFile("stellad.log"))
	}
}

// get asks stellad's admin listener.
func (w *world) get(path string) (status int, body string, err error) {
	if w.stellad == nil {
		return 0, "", errors.New("stellad does not run")
	}
	r, err := http.Get("http://" + w.admin + path)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

// health is the command "[!] health PATH": the admin listener answers 200 there, or soon does.
// Its answer can be inspected as standard output.
func health(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] health PATH")
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		status, body, err := of(ts).get(args[0])
		ts.Check(err)
		if (status == http.StatusOK) != neg {
			fmt.Fprint(ts.Stdout(), body)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s answers %d after %v\n%s", args[0], status, patience, body)
		}
	}
}

// metric is the command "metric SERIES VALUE": /metrics says so, or soon does, as
// what has happened is counted after it was told.
func metric(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: metric SERIES VALUE")
	}
	pattern := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(args[0]) + ` (.*)$`)
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		_, body, err := of(ts).get("/metrics")
		ts.Check(err)
		m := pattern.FindStringSubmatch(body)
		if m != nil && m[1] == args[1] {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s is %v after %v; want %s", args[0], m, patience, args[1])
		}
	}
}
