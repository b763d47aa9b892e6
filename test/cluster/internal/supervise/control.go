package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// A running node can be changed in one way: its kubelet starts again with another
// configuration. A client writes that as JSON and is answered with a Report.

// request is what a node is asked, with the way to answer.
type request struct {
	kubelet map[string]any
	answer  chan error
}

const (
	// maxRequest bounds a configuration in bytes: the whole of a kubelet's is smaller.
	maxRequest = 1 << 20
	// requestWithin bounds how long a client on the same machine may take to write one.
	requestWithin = 10 * time.Second
)

// serveControl passes requests on, one at a time, until the listener is closed.
func serveControl(listener net.Listener, asked chan<- request) {
	acceptAll(listener, func(client net.Conn) {
		defer client.Close()
		r := request{answer: make(chan error)}
		var report Report
		err := client.SetReadDeadline(time.Now().Add(requestWithin))
		if err == nil {
			err = json.NewDecoder(io.LimitReader(client, maxRequest)).Decode(&r.kubelet)
		}
		if err == nil {
			asked <- r
			err = <-r.answer
		}
		if err != nil {
			report.Error = err.Error()
		}
		_ = say(client, report) // gone: does not want to know
	})
}

// RestartKubelet kills the kubelet of the cluster at dir, starts it with other
// keys laid over its configuration, and returns when it is healthy. Pods stay.
func RestartKubelet(ctx context.Context, dir string, kubelet map[string]any) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "unix", filepath.Join(dir, controlSocket))
	if err != nil {
		return fmt.Errorf("restart the kubelet: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := json.NewEncoder(c).Encode(kubelet); err != nil {
		return fmt.Errorf("restart the kubelet: %w", err)
	}
	var report Report
	err = json.NewDecoder(c).Decode(&report)
	if err == nil && report.Error != "" {
		err = errors.New(report.Error)
	}
	if err != nil {
		return fmt.Errorf("restart the kubelet: %w", err)
	}
	return nil
}

func (n *node) restartKubelet(ctx context.Context, kubelet map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	n.stop("kubelet")
	n.Kubelet = kubelet
	if err := n.startKubelet(); err != nil {
		return err
	}
	// The node's condition in the API is still what the killed one said.
	return n.await(ctx, "the kubelet to be healthy", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:10248/healthz", http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return errors.New(response.Status)
		}
		return nil
	})
}
