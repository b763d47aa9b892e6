package monitoring

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"stella/test/cluster"
)

const (
	// maxAnswer bounds an answer in bytes: that of a query for every series of a
	// small cluster is smaller.
	maxAnswer = 64 << 20
	// answerWithin bounds a request on the same machine.
	answerWithin = 30 * time.Second
	// tailBytes is how much of its log a program leaves to a failed test.
	tailBytes = 4 << 10
)

// process is a program that serves HTTP on the node until the test ends.
type process struct {
	name    string
	cmd     *exec.Cmd
	ended   chan struct{}
	address string
	client  *http.Client
}

// start starts a program whose log is in dir and which listens at an address of the node.
func start(t testing.TB, c *cluster.Cluster, name, dir, address string, args ...string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	defer log.Close()
	p := &process{
		name: name,
		// The context ends before the test's cleanups are called; that kills the program.
		cmd:     c.Command(t.Context(), name, append(args, "--web.listen-address="+address)...),
		ended:   make(chan struct{}),
		address: address,
		client: &http.Client{Timeout: answerWithin, Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return c.Dial(ctx, address) },
			DisableKeepAlives: true, // nothing is left to close
		}},
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // the state says it
		close(p.ended)
	}()
	t.Cleanup(func() {
		<-p.ended
		if t.Failed() {
			t.Logf("%s (%s), the end of its log:\n%s", name, p.cmd.ProcessState, tail(log.Name()))
		}
	})
	return p
}

// awaitReady waits until the program says that it is ready; no longer than it lives.
func (p *process) awaitReady(t testing.TB) {
	t.Helper()
	cluster.Eventually(t, readyWithin, func(ctx context.Context) error {
		select {
		case <-p.ended:
			t.Fatalf("%s ended before it was ready; the end of its log is below", p.name)
		default:
		}
		_, err := p.get(ctx, "/-/ready")
		return err
	})
}

// get returns the body of an answer. Other statuses than 200 are errors.
func (p *process) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer to %s: %w", path, err)
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("the answer to %s has more than %d bytes", path, maxAnswer)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s: %s: %s", path, response.Status, bytes.TrimSpace(body))
	}
	return body, nil
}

// tail returns the end of a file, for a person.
func tail(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-tailBytes):])
}
