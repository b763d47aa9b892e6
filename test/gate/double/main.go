// Command double stands for a cluster before which a gate is tested: an API server, a Prometheus and kured's pods, which are all well until they
// are told otherwise. It is a program of its own so that its memory and its time are not taken for those of the tests, or of the gate.
//
// Words: the nodes are n0, n1 and so on; the first ones have a gate and a kured each, whose files are in the directory of that name below --dir. The
// last three are the control plane. A fault is what becomes of the answers to one method and path. The control
// is a listener of its own: POST /set replaces what the cluster is told to be (see wish), GET /state says what became of it (see state).
//
// Objects are made while they are written, of about the size that real ones have: 1,000 nodes and 20,000 pods are 49 MB. What a gate writes is kept: annotations of nodes, and
// one Lease, with compare and swap.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	c := newCluster()
	flag.IntVar(&c.nodes, "nodes", 20, "how many nodes there are")
	flag.IntVar(&c.pods, "pods", 200, "how many pods there are, besides those of gates and kured")
	flag.IntVar(&c.alerts, "alerts", 50, "how many alerts fire, besides Watchdog")
	flag.IntVar(&c.gates, "gates", 1, "how many nodes have a gate, from n0 on")
	flag.StringVar(&c.dir, "dir", "", "`directory` for the kubeconfig, and with the directories of the gates")
	flag.Parse()
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "double:", err)
		os.Exit(1)
	}
}

// run serves until standard input ends, which is when whoever started it does.
func run(c *cluster) error {
	id, err := newIdentity()
	if err != nil {
		return err
	}
	s := &servers{}
	api, err := s.add(&listener{address: "127.0.0.1:0", handler: c.throttled(c.api()), identity: id})
	if err != nil {
		return err
	}
	port := "0"
	for i := range c.gates {
		plain, err := s.add(&listener{address: net.JoinHostPort(address(i), port), handler: c.faulty(c.plain())})
		if err != nil {
			return err
		}
		if _, port, err = net.SplitHostPort(plain); err != nil {
			return err
		}
	}
	c.plainPort = port
	in, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	server := &http.Server{Handler: c.control(s), ReadHeaderTimeout: time.Minute}
	go func() { failed <- server.Serve(in) }()
	if err := id.kubeconfig(c.dir, api); err != nil {
		return err
	}
	ready, err := json.Marshal(map[string]string{
		"prometheus": "http://127.0.0.1:" + c.plainPort, "control": "http://" + in.Addr().String(), "kubeconfig": filepath.Join(c.dir, "kubeconfig"),
	})
	if err != nil {
		return err
	}
	fmt.Println(string(ready))
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		failed <- err
	}()
	return <-failed
}

// servers can be taken away together, and come back at the same addresses.
type servers struct{ all []*listener }

// add opens a listener, and returns its address.
func (s *servers) add(l *listener) (string, error) {
	s.all = append(s.all, l)
	err := l.open()
	return l.address, err
}

func (s *servers) set(down bool) error {
	var errs []error
	for _, l := range s.all {
		if down {
			l.close()
		} else {
			errs = append(errs, l.open())
		}
	}
	return errors.Join(errs...)
}

// listener is one server. It is used by one goroutine at a time.
type listener struct {
	address  string
	handler  http.Handler
	identity *identity // nil is without TLS
	server   *http.Server
}

func (l *listener) open() error {
	if l.server != nil {
		return nil
	}
	in, err := new(net.ListenConfig).Listen(context.Background(), "tcp", l.address)
	if err != nil {
		return err
	}
	l.address = in.Addr().String()
	server := &http.Server{Handler: l.handler, ReadHeaderTimeout: time.Minute}
	l.server = server
	if l.identity != nil {
		in = tls.NewListener(in, l.identity.config())
	}
	go func() { _ = server.Serve(in) }() // until close
	return nil
}

func (l *listener) close() {
	if l.server != nil {
		l.server.Close()
		l.server = nil
	}
}
