package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// settle is how long a server is left alone before its memory is looked at.
	settle = 3 * time.Second
	// reapTime is how long a server is given to end those who do not read, after the last line.
	reapTime = 45 * time.Second
)

// result is what was measured of one server in one scenario.
type result struct {
	readers  readers
	idle     float64 // bytes of RSS for each subscriber, connected, before the first line
	busy     float64 // the most, while there are lines
	cpu      float64 // seconds of the server
	tcp      int64   // bytes that the kernel had in all TCP buffers, at most
	reaped   time.Duration
	unreaped int
}

const heading = `| server | delivered % | p50 ms | p99 ms | max ms | RSS idle KiB each | RSS busy KiB each | CPU s | kernel TCP MiB | bad reaped after s |
|---|---|---|---|---|---|---|---|---|---|`

func (r result) row(name string, s scenario) string {
	reaped := "–"
	if s.bad {
		reaped = fmt.Sprintf("%.0f", r.reaped.Seconds())
		if r.unreaped > 0 {
			reaped = fmt.Sprintf("%d never", r.unreaped)
		}
	}
	return fmt.Sprintf("| %s | %.2f | %.0f | %.0f | %.0f | %.1f | %.1f | %.1f | %d | %s |", name,
		100*float64(r.readers.Lines)/float64(r.readers.Want), r.readers.P50, r.readers.P99, r.readers.Max,
		r.idle/1024, r.busy/1024, r.cpu, r.tcp>>20, reaped)
}

// build builds the peers' program.
func build(ctx context.Context, to string) error {
	source, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "stella/bench/sse").Output()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, ".")
	cmd.Dir = filepath.Join(strings.TrimSpace(string(source)), "peers")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the peers: %w: %s", err, out)
	}
	return nil
}

// measure starts a server and its clients, has the lines written, and looks at the server until they are read.
func measure(ctx context.Context, program []string, s scenario, took time.Duration, dir string) (result, error) {
	var r result
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, address, err := start(ctx, append(program, dir))
	if err != nil {
		return r, err
	}
	defer stop(server)
	pid := server.Process.Pid
	empty, base := rss(pid), descriptors(pid)
	good, never, frozen := s.subscribers, 0, 0
	if s.bad {
		never, frozen = s.subscribers/10, s.subscribers/10
		good -= never + frozen
	}
	// Those who will be frozen are a process of their own.
	ice, _, err := start(ctx, reader(address, frozen, 0, 0, 0))
	if err != nil {
		return r, err
	}
	defer stop(ice)
	clients, _, err := start(ctx, reader(address, good, never, s.lines, took+20*time.Second))
	if err != nil {
		return r, err
	}
	defer stop(clients)
	time.Sleep(settle)
	r.idle = float64(rss(pid)-empty) / float64(s.subscribers)
	cpu := cpuSeconds(pid)
	if err := ice.Process.Signal(syscall.SIGSTOP); err != nil {
		return r, err
	}
	began := time.Now()
	if err := write(ctx, address, s.lines, took); err != nil {
		return r, err
	}
	read := make(chan error, 1)
	go func() { read <- json.NewDecoder(clients.out).Decode(&r.readers) }()
	reaped := func() bool { return descriptors(pid) <= base+good }
	for waiting := true; waiting; {
		select {
		case err := <-read:
			if err != nil {
				return r, fmt.Errorf("the clients: %w", err)
			}
			waiting = false
		case <-time.After(100 * time.Millisecond):
		}
		r.busy = max(r.busy, float64(rss(pid)-empty)/float64(s.subscribers))
		r.tcp = max(r.tcp, tcpMemory())
		if s.bad && r.reaped == 0 && reaped() {
			r.reaped = time.Since(began)
		}
	}
	r.cpu = cpuSeconds(pid) - cpu
	for s.bad && r.reaped == 0 && time.Since(began) < took+reapTime {
		time.Sleep(100 * time.Millisecond)
		if reaped() {
			r.reaped = time.Since(began)
		}
	}
	if s.bad && r.reaped == 0 {
		r.unreaped = descriptors(pid) - base - good
	}
	return r, nil
}

// process is one that was started, with its output.
type process struct {
	*exec.Cmd
	out *bufio.Reader
}

// start starts a program and waits for its first line.
func start(ctx context.Context, args []string) (*process, string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	p := &process{cmd, bufio.NewReader(out)}
	line, err := p.out.ReadString('\n')
	if err != nil {
		stop(p)
		return nil, "", fmt.Errorf("%v said nothing: %w", args, err)
	}
	return p, strings.TrimSpace(line), nil
}

func stop(p *process) {
	_ = p.Process.Kill()
	_ = p.Wait()
}

func reader(address string, good, never, lines int, limit time.Duration) []string {
	return []string{"/proc/self/exe", "read", address, strconv.Itoa(good), strconv.Itoa(never), strconv.Itoa(lines), limit.String()}
}

// write has the server write the lines; it answers at once.
func write(ctx context.Context, address string, lines int, took time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://%s/write?lines=%d&took=%v", address, lines, took), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("the server did not write: %s: %s", resp.Status, text)
	}
	http.DefaultClient.CloseIdleConnections()
	return nil
}
