// Command feed is a server of events with a fault that many have: who goes away stays. It is for the tests of stella/test/inspect.
//
// Each client of /events has a buffer of --buffer bytes. Its handler waits for events and never looks whether the client is still there; as there are no events,
// the buffer, the goroutine and the connection stay for ever. /metrics counts the clients, as this server sees them, and /debug/pprof/ has its profiles.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof" // the test's subject
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func main() {
	buffer := flag.Int("buffer", 256<<10, "`bytes` that each client has")
	listen := flag.String("listen", "127.0.0.1:0", "`HOST:PORT`")
	flag.Parse()
	if err := run(*listen, *buffer); err != nil {
		fmt.Fprintln(os.Stderr, "feed:", err)
		os.Exit(1)
	}
}

func run(address string, buffer int) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	h := &hub{buffer: buffer, open: map[*subscriber]bool{}}
	prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sse_connections_active", Help: "Clients of /events."}, h.count))
	http.HandleFunc("/events", h.events)
	http.Handle("/metrics", promhttp.Handler())
	fmt.Println(l.Addr())
	if err := http.Serve(l, nil); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// hub has all subscribers.
type hub struct {
	buffer int

	mu   sync.Mutex
	open map[*subscriber]bool
}

// subscriber is one client.
type subscriber struct {
	events chan string
	sent   []byte // the last events, for clients that come back
}

func (h *hub) count() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return float64(len(h.open))
}

// subscribe adds a client. Nothing takes it out again.
func (h *hub) subscribe() *subscriber {
	s := &subscriber{events: make(chan string), sent: make([]byte, h.buffer)}
	for i := range s.sent {
		s.sent[i] = '.'
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[s] = true
	return s
}

func (h *hub) events(w http.ResponseWriter, _ *http.Request) {
	s := h.subscribe()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush() // who is away does not get it
	for e := range s.events {
		fmt.Fprintf(w, "data: %s\n\n", e)
	}
}
