package rdev

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/client"
	"stella/internal/rdev"
)

// process is an rdev-api that a test starts, kills and looks into. Its project is web.
type process struct {
	t             testing.TB
	dir           string
	listen, admin string // HOST:PORT
	key           string // for listen
	cmd           *exec.Cmd
	api           *client.Rdev
	socket        *http.Client // through the socket, which needs no key, whatever the host is
}

// launch starts an rdev-api whose files are in dir, also those that an earlier one left there, and returns when it is ready.
func launch(t testing.TB, dir string, flags ...string) *process {
	t.Helper()
	p := &process{t: t, dir: dir, key: strings.Repeat("k", 64)}
	if err := os.MkdirAll(p.path("web"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.path("key"), []byte(p.key), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(p.path("log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	begin, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(programs.Path(t, "rdev-api"), append([]string{"--socket", p.path("s"), "--state-dir", p.path("state"), "--project", p.path("web"),
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--admin-key-file", p.path("key"), "--requests-per-second", "1000000"}, flags...)...)
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		late := time.AfterFunc(patience/2, func() { p.cmd.Process.Kill() })
		p.end(syscall.SIGTERM) // which ends its commands, too
		late.Stop()
		if text, err := os.ReadFile(p.path("log")); t.Failed() && err == nil {
			t.Logf("the end of its log:\n%s", text[max(0, len(text)-4000):])
		}
		log.Close()
	})
	p.listen, p.admin = p.ready(log, begin)
	p.connect()
	return p
}

func (p *process) path(name string) string { return filepath.Join(p.dir, name) }

// ready waits for the line that says where it listens.
func (p *process) ready(log *os.File, begin int64) (listen, admin string) {
	p.t.Helper()
	line := regexp.MustCompile(`msg=ready .*listen=(\S+) admin=(\S+)`)
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		text, err := io.ReadAll(io.NewSectionReader(log, begin, 1<<20))
		if err != nil {
			p.t.Fatal(err)
		}
		if m := line.FindSubmatch(text); m != nil {
			return string(m[1]), string(m[2])
		}
		if time.Since(start) > patience {
			p.t.Fatal("rdev-api does not get ready")
		}
	}
}

func (p *process) connect() {
	p.t.Helper()
	socket := p.path("s")
	transport := &http.Transport{MaxIdleConnsPerHost: 100, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	p.socket = &http.Client{Transport: transport}
	var err error
	if p.api, err = client.NewRdev(client.Options{Address: "unix://" + socket}); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.hangUp)
}

// hangUp closes the connections that are not in use.
func (p *process) hangUp() {
	p.socket.CloseIdleConnections()
	p.api.Close()
	http.DefaultClient.CloseIdleConnections()
}

// end ends the process, if it has not ended, and waits for that.
func (p *process) end(sig syscall.Signal) {
	if p.cmd.ProcessState == nil {
		p.cmd.Process.Signal(sig)
		p.cmd.Wait()
	}
}

// context ends when the patience of the test does.
func (p *process) context() context.Context {
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*patience)
	p.t.Cleanup(cancel)
	return ctx
}

// submit asks for a command.
func (p *process) submit(r rdev.Request) rdev.Command {
	p.t.Helper()
	c, err := p.api.Run(p.context(), "web", r)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// follow reads what a command prints until it has ended, gives each piece to saw, which may be nil, and returns the end that the stream told.
func (p *process) follow(id string, saw func(string)) (rdev.End, error) {
	var end rdev.End
	err := p.api.Follow(p.context(), "web", id, client.From{}, func(e client.OutputEvent) error {
		switch {
		case e.End != nil:
			end = *e.End
		case e.Output != nil && saw != nil:
			saw(e.Output.Text + string(e.Output.Base64) + e.Output.End)
		}
		return nil
	})
	return end, err
}

// ended waits until a command has ended, and returns it. What its stream says of the end is what its description says.
func (p *process) ended(id string) rdev.Command {
	p.t.Helper()
	told, err := p.follow(id, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		c, err := p.api.Command(p.context(), "web", id)
		if err != nil {
			p.t.Fatal(err)
		}
		if c.Status == rdev.Ended { // which is written down after the log has it
			if told.Reason != c.End.Reason || told.ExitCode != c.End.ExitCode || told.Detail != c.End.Detail {
				p.t.Errorf("%s: the stream told %+v, and it is %+v", id, told, *c.End)
			}
			return c
		}
		if time.Since(start) > patience {
			p.t.Fatalf("%s: its stream told the end, and it is %+v", id, c)
		}
	}
}

// exists waits until there is a file.
func (p *process) exists(name string) {
	p.t.Helper()
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(p.path(name)); err == nil {
			return
		} else if time.Since(start) > patience {
			p.t.Fatal(err)
		}
	}
}

// output is what a command has printed.
func (p *process) output(id string, tail int64) string {
	p.t.Helper()
	var text strings.Builder
	if err := p.api.Output(p.context(), "web", id, tail, "", &text); err != nil {
		p.t.Fatal(err)
	}
	return text.String()
}

// get is the body of an answer of the admin listener.
func (p *process) get(path string) string {
	p.t.Helper()
	resp, err := http.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("GET %s: %s, %v\n%s", path, resp.Status, err, text)
	}
	return string(text)
}

// number is the number behind a name at the beginning of a line: of a metric, a heap profile or a file of procfs.
func number(t testing.TB, text, name string) int64 {
	t.Helper()
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		var n float64 // which has the integers of metrics, also written as 1e+06
		if _, err := fmt.Sscan(strings.TrimLeft(rest, " \t:="), &n); err == nil {
			return int64(n)
		}
	}
	t.Fatalf("there is no %s in:\n%.2000s", name, text)
	return 0
}

// status is a number of the process in /proc/PID/status, which has KiB, in bytes.
func (p *process) status(name string) int64 {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return number(p.t, string(text), name) << 10
}

// descriptors counts those that the process has open.
func (p *process) descriptors() int64 {
	p.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return int64(len(open))
}

// answering asks for health and for the list of commands all the time until the test calls stop, which says how often, and how long the
// longest answer took. Each has to be a success.
func (p *process) answering() (stop func() (asked int, longest time.Duration)) {
	ctx, cancel := context.WithCancel(p.context())
	done := make(chan struct{})
	var asked int
	var longest time.Duration
	go func() {
		defer close(done)
		for pause := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-pause.C {
			for _, path := range []string{"/ready", "/v1/projects/web/commands?limit=5"} {
				start := time.Now()
				err := p.ask(ctx, path)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					p.t.Errorf("the service does not answer: %v", err)
				}
				asked, longest = asked+1, max(longest, time.Since(start))
			}
		}
	}()
	return func() (int, time.Duration) {
		cancel()
		<-done
		return asked, longest
	}
}

// ask sends a request through the socket, whose answer has to be a success.
func (p *process) ask(ctx context.Context, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	resp, err := p.socket.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(bufio.NewReader(resp.Body))
	if resp.StatusCode/100 != 2 {
		err = errors.Join(err, fmt.Errorf("GET %s: %s: %.500s", path, resp.Status, text))
	}
	return err
}

// alive are the processes that have a variable in their environment, as all that a command starts has.
func alive(t testing.TB, variable string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range all {
		if env, err := os.ReadFile(dir + "/environ"); err == nil && strings.Contains(string(env), variable) {
			pids = append(pids, filepath.Base(dir))
		}
	}
	return pids
}
