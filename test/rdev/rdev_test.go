// Package rdev runs rdev-api and stella rdev as they are released: real commands, real connections, real kills.
//
// Vocabulary: a script is a file in testdata (package testscript). Each has an rdev-api of its own (see [service]), with its own
// data and socket, and one project, the directory web; so scripts run side by side. What a script starts ends with it.
package rdev

import (
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

	"github.com/rogpeppe/go-internal/testscript"

	"stella/internal/testkit"
	"stella/internal/testkit/released"
)

// patience is how long anything may take on a machine with much else to do.
const patience = time.Minute

var programs = released.New("stella/cmd/stella", "stella/cmd/stellad", "stella/cmd/rdev-api", "stella/test/hog")

func TestMain(m *testing.M) { os.Exit(programs.Run(m)) }

// TestScripts run commands as people do.
func TestScripts(t *testing.T) {
	bin := programs.Dir(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			e.Setenv("BIN", bin)
			e.Setenv("STELLA_RDEV", "unix://"+filepath.Join(e.WorkDir, "s"))
			// For those that something else starts.
			e.Setenv("RDEV_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			e.Setenv("RDEV_ADMIN", "127.0.0.1:0")
			e.Values[key{}] = new(world)
			return nil
		},
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"service": service, "exit": exit, "$": shell, "port": port},
		Condition:           condition,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// condition is of a machine: [memory-cgroup].
func condition(cond string) (bool, error) {
	if cond != testkit.MemoryCgroup.Name {
		return false, fmt.Errorf("unknown condition %q", cond)
	}
	return testkit.MemoryCgroup.Probe() == nil, nil
}

// world is what one script has.
type world struct {
	service *exec.Cmd
	log     *os.File
	code    int
}

type key struct{}

func of(ts *testscript.TestScript) *world { return ts.Value(key{}).(*world) }

// shell is the command "[!] $ LINE": sh runs the line, in the project. Beware of single quotes, which testscript takes away.
func shell(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("timeout", fmt.Sprint(int(patience.Seconds())), "sh", "-c", "cd ${IN:-web} && "+strings.Join(args, " "))
	w := of(ts)
	w.code = 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		w.code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if (w.code != 0) != neg {
		ts.Fatalf("exit code %d", w.code)
	}
}

// exit is the command "exit CODE": that was the exit code of the last line that sh ran.
func exit(ts *testscript.TestScript, neg bool, args []string) {
	if code := of(ts).code; neg || len(args) != 1 || args[0] != fmt.Sprint(code) {
		ts.Fatalf("exit code %d; want %v", code, args)
	}
}

// port is the command "port NAME": it sets a variable to a TCP port that nobody uses at the moment.
func port(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	_, number, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], number)
}

// service is the command "service start [FLAG...]", "service stop" or "service kill": it starts an rdev-api with the project web, and
// waits until it answers; or ends it.
func service(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: service start|stop|kill")
	}
	w := of(ts)
	switch args[0] {
	case "start":
		w.start(ts, args[1:])
	case "stop":
		w.end(ts, syscall.SIGTERM)
	case "kill":
		w.end(ts, syscall.SIGKILL)
	default:
		ts.Fatalf("unknown: service %s", args[0])
	}
}

func (w *world) start(ts *testscript.TestScript, flags []string) {
	socket := ts.MkAbs("s")
	w.service = exec.Command(filepath.Join(ts.Getenv("BIN"), "rdev-api"), append([]string{"--socket", socket, "--project", ts.MkAbs("web"), "--listen", ""}, flags...)...)
	w.service.Env = append(os.Environ(), "RDEV_ADMIN="+ts.Getenv("RDEV_ADMIN"), "RDEV_STATE_DIR="+ts.Getenv("RDEV_STATE_DIR"))
	var err error
	w.log, err = os.OpenFile(ts.MkAbs("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	ts.Check(err)
	w.service.Stderr = w.log
	ts.Check(w.service.Start())
	running := w.service
	ts.Defer(func() {
		if running.ProcessState == nil {
			running.Process.Kill()
			running.Wait()
		}
	})
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
			return
		}
		if time.Since(begin) > patience {
			ts.Fatalf("rdev-api does not answer: %v\n%s", err, ts.ReadFile("log"))
		}
	}
}

func (w *world) end(ts *testscript.TestScript, sig os.Signal) {
	ts.Check(w.service.Process.Signal(sig))
	err := w.service.Wait()
	w.log.Close()
	if sig == syscall.SIGTERM && err != nil {
		ts.Fatalf("rdev-api: %v", err)
	}
}
