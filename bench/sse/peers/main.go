// Command peers serves lines as server-sent events in ways that stella's is measured beside: two libraries, and the fan-out by channels
// that one would write without any. Usage: peers r3labs|go-sse|channels
//
// Each is used as its documentation says. None of them remembers what was sent.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/r3labs/sse/v2"
	gosse "github.com/tmaxmax/go-sse"
)

// lineLength and marker are those of bench/sse.
const (
	lineLength = 40
	marker     = '~'
)

func main() {
	handlers := map[string]func() (http.Handler, func([]byte)){"r3labs": r3labs, "go-sse": goSSE, "channels": channels}
	make, ok := handlers[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, "peers: there is no", os.Args[1])
		os.Exit(2)
	}
	events, publish := make()
	mux := http.NewServeMux()
	mux.Handle("GET /events", events)
	mux.HandleFunc("POST /write", func(_ http.ResponseWriter, r *http.Request) {
		lines, _ := strconv.Atoi(r.FormValue("lines"))
		took, _ := time.ParseDuration(r.FormValue("took"))
		go produce(lines, took, publish)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Println(l.Addr())
		err = http.Serve(l, mux)
	}
	fmt.Fprintln(os.Stderr, "peers:", err)
	os.Exit(1)
}

func r3labs() (http.Handler, func([]byte)) {
	s := sse.New()
	s.AutoReplay = false // which would keep all lines
	s.CreateStream("x")
	return s, func(line []byte) { s.Publish("x", &sse.Event{Data: append([]byte(nil), line...)}) }
}

func goSSE() (http.Handler, func([]byte)) {
	s := &gosse.Server{}
	return s, func(line []byte) {
		m := &gosse.Message{}
		m.AppendData(string(line))
		_ = s.Publish(m)
	}
}

// channels is a channel for each client, which drops what a full one does not take.
func channels() (http.Handler, func([]byte)) {
	var mu sync.Mutex
	clients := map[chan string]bool{}
	serve := func(w http.ResponseWriter, r *http.Request) {
		c := make(chan string, 256)
		mu.Lock()
		clients[c] = true
		mu.Unlock()
		defer func() {
			mu.Lock()
			delete(clients, c)
			mu.Unlock()
		}()
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		control := http.NewResponseController(w)
		_ = control.Flush()
		for {
			select {
			case line := <-c:
				fmt.Fprintf(w, "data: %s\n\n", line)
				_ = control.Flush()
			case <-r.Context().Done():
				return
			}
		}
	}
	return http.HandlerFunc(serve), func(line []byte) {
		event := string(line)
		mu.Lock()
		defer mu.Unlock()
		for c := range clients {
			select {
			case c <- event:
			default:
			}
		}
	}
}

// produce writes lines evenly: each millisecond those that are due.
func produce(lines int, took time.Duration, write func(line []byte)) {
	begun := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	line := make([]byte, 0, lineLength)
	for n := 0; n < lines; <-tick.C {
		for due := min(int(float64(lines)*float64(time.Since(begun))/float64(took))+1, lines); n < due; n++ {
			line = append(line[:0], marker)
			line = strconv.AppendInt(line, time.Now().UnixNano(), 10)
			for len(line) < lineLength {
				line = append(line, ' ')
			}
			write(line)
		}
	}
}
