package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/stream"
)

// lineLength is that of a line, without its end.
const lineLength = 40

// serve is the server that is measured: a log, and its subscribers. It says its address, and writes when it is told to.
func serve(args []string) error {
	dir, err := os.MkdirTemp(args[0], "log-*")
	if err != nil {
		return err
	}
	store, err := outlog.Open(dir, outlog.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	log, err := store.Create("command", outlog.Limits{})
	if err != nil {
		return err
	}
	hub, err := stream.New(stream.Options{Total: 20_000, PerKey: 20_000, PerCommand: 20_000, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		if err := hub.Serve(w, r, log, 0, stream.Subscriber{Key: "k", Command: "c"}); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /write", func(_ http.ResponseWriter, r *http.Request) {
		lines, _ := strconv.Atoi(r.FormValue("lines"))
		took, _ := time.ParseDuration(r.FormValue("took"))
		out := log.Writer(rdev.Stdout)
		go produce(lines, took, func(line []byte) { _, _ = out.Write(append(line, '\n')) })
	})
	return listen(&http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(os.Stderr, nil), slog.LevelError)})
}

// listen serves, and says where.
func listen(s *http.Server) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return s.Serve(l)
}

// produce writes lines evenly: each millisecond those that are due.
func produce(lines int, took time.Duration, write func(line []byte)) {
	begun := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	line := make([]byte, 0, lineLength+1)
	for n := 0; n < lines; <-tick.C {
		for due := min(int(float64(lines)*float64(time.Since(begun))/float64(took))+1, lines); n < due; n++ {
			line = append(line[:0], marker)
			line = strconv.AppendInt(line, time.Now().UnixNano(), 10)
			for len(line) < lineLength {
				line = append(line, " compiling package internal/rdev/stream of the module"[(len(line)-20)%53])
			}
			write(line)
		}
	}
}
