package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// floor is the least that a server can do which sends everybody everything: it writes to one descriptor after another, without
// waiting, all that is new. It knows no events, heartbeats, clients that leave, or log that is longer than memory. What it takes is the
// kernel's, and that of the clients.
type floor struct {
	mu   sync.Mutex
	new  []int
	data []byte // all lines
}

// client is one descriptor, and how much it was sent.
type client struct{ fd, sent int }

// serveFloor is the server "floor".
func serveFloor() error {
	f := &floor{data: make([]byte, 0, 16<<20)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", f.take)
	mux.HandleFunc("POST /write", func(_ http.ResponseWriter, r *http.Request) {
		lines, _ := strconv.Atoi(r.FormValue("lines"))
		took, _ := time.ParseDuration(r.FormValue("took"))
		go produce(lines, took, func(line []byte) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.data = append(append(f.data, line...), '\n')
		})
	})
	go f.walk()
	return listen(&http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)})
}

// take takes a connection from net/http.
func (f *floor) take(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
	file, err := conn.(interface{ File() (*os.File, error) }).File() // which Go's own poller does not know
	conn.Close()
	if err != nil {
		return
	}
	fd := int(file.Fd())
	if err := unix.SetNonblock(fd, true); err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	files = append(files, file)
	f.new = append(f.new, fd)
}

// walk writes for ever.
func (f *floor) walk() {
	var clients []client
	for {
		f.mu.Lock()
		for _, fd := range f.new {
			clients = append(clients, client{fd: fd})
		}
		f.new = nil
		f.mu.Unlock()
		wrote := false
		for i := range clients {
			c := &clients[i]
			f.mu.Lock()
			data := f.data[c.sent:]
			f.mu.Unlock()
			if len(data) == 0 {
				continue
			}
			n, err := unix.Write(c.fd, data)
			if err != nil && !errors.Is(err, unix.EAGAIN) {
				n = len(data) // it left
			}
			c.sent += max(n, 0)
			wrote = wrote || n > 0
		}
		if !wrote {
			time.Sleep(time.Millisecond)
		}
	}
}
