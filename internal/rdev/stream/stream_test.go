package stream_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/stream"
	"stella/internal/sse"
)

// service is a server with one command's log.
type service struct {
	*httptest.Server
	hub *stream.Hub
	log *outlog.Log
	out io.Writer
}

// limits keep everything that these tests write.
var limits = outlog.Limits{Bytes: 64 << 20}

func serve(t *testing.T, o stream.Options, l outlog.Limits) *service {
	t.Helper()
	s := unstarted(t, o, l)
	s.Start()
	return s
}

func unstarted(t *testing.T, o stream.Options, l outlog.Limits) *service {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	store, err := outlog.Open(t.TempDir(), outlog.Options{Log: o.Log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := &service{}
	if s.log, err = store.Create("command", l); err != nil {
		t.Fatal(err)
	}
	s.out = s.log.Writer(rdev.Stdout)
	if s.hub, err = stream.New(o); err != nil {
		t.Fatal(err)
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := stream.Subscriber{Key: r.Header.Get("Key"), Command: "command"}
		if until := r.Header.Get("Until"); until != "" {
			who.Until, _ = time.Parse(time.RFC3339Nano, until)
		}
		w.Header().Set("X-From-Middleware", "yes")
		err := s.hub.Serve(w, r, s.log, 0, who)
		if refused := (*stream.Refused)(nil); errors.As(err, &refused) {
			w.Header().Set("Retry-After", strconv.Itoa(int(refused.RetryAfter.Seconds())))
			http.Error(w, refused.Detail, refused.Status)
		}
	}))
	t.Cleanup(func() {
		if err := s.hub.Close(); err != nil {
			t.Error(err)
		}
		if n := s.hub.Stats().Active; n != 0 {
			t.Errorf("%d connections are left", n)
		}
		s.Close()
	})
	return s
}

// get asks for the events behind an id.
func (s *service) get(t *testing.T, id string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// follower puts together what a program wrote, from events.
type follower struct {
	id      string
	text    bytes.Buffer
	records int
	names   []string // of the events that are not output
	gaps    []stream.Gap
	end     *rdev.End
}

// take reads events until the end of the stream, or for at most so many.
func (f *follower) take(t *testing.T, r io.Reader, most int) {
	t.Helper()
	in := sse.NewReader(r)
	for range most {
		e, err := in.Next()
		if err != nil {
			return
		}
		f.id = e.ID
		if e.Name != stream.EventOutput {
			f.names = append(f.names, e.Name)
		}
		switch e.Name {
		case stream.EventOutput:
			var o stream.Output
			decode(t, e.Data, &o)
			f.text.WriteString(o.Text)
			f.text.Write(o.Base64)
			f.text.WriteString(o.End)
			f.records++
		case stream.EventGap:
			var g stream.Gap
			decode(t, e.Data, &g)
			f.gaps = append(f.gaps, g)
		case stream.EventEnd:
			f.end = &rdev.End{}
			decode(t, e.Data, f.end)
		}
	}
}

func decode(t *testing.T, data []byte, to any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
}

var exit0 = rdev.End{Reason: rdev.ReasonExit, Detail: "over"}

func finish(t *testing.T, s *service) {
	t.Helper()
	if err := s.log.End(exit0); err != nil {
		t.Fatal(err)
	}
}

// hostile is output that tries to be something else.
const hostile = "plain\n" +
	"data: x\n\nid: 99\nevent: end\ndata: {\"reason\":\"exit\"}\n\n" +
	"\r\r\n10%\r20%\rdone\r\n\x00\x01\xff\xfe binary \n\x1b[31mred\x1b[0m \"quoted\" \\ </script> \u2028\u2029\n" +
	"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\n" + "\ufeffno end of line"

// What subscribers put together is what was written, byte for byte, whichever way they are served and
// whether they were there from the beginning; then the server ends the answer.
func TestEveryByte(t *testing.T) {
	for name, start := range map[string]func(*service){
		"taken over": func(s *service) { s.Start() },
		"TLS":        func(s *service) { s.StartTLS() },
		"HTTP/2":     func(s *service) { s.EnableHTTP2 = true; s.StartTLS() },
	} {
		t.Run(name, func(t *testing.T) {
			s := unstarted(t, stream.Options{}, limits)
			start(s)
			var want bytes.Buffer
			early := s.get(t, "")
			if got := early.Header.Get("Content-Type"); got != "text/event-stream" {
				t.Errorf("Content-Type %q", got)
			}
			for header, want := range map[string]string{"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-From-Middleware": "yes"} {
				if got := early.Header.Get(header); got != want {
					t.Errorf("%s: %q; want %q", header, got, want)
				}
			}
			out := io.MultiWriter(s.out, &want)
			for i := range 3000 {
				fmt.Fprintf(out, "line %d %s\n", i, strings.Repeat("x", i%300))
			}
			io.WriteString(out, strings.Repeat("long", 100_000)+"\n")
			io.WriteString(out, hostile)
			finish(t, s)
			late := s.get(t, "")
			for when, resp := range map[string]*http.Response{"early": early, "late": late} {
				var f follower
				f.take(t, resp.Body, 1<<30)
				if !bytes.Equal(f.text.Bytes(), want.Bytes()) {
					t.Errorf("%s: %d bytes of %d, and they are others", when, f.text.Len(), want.Len())
				}
				if diff := cmp.Diff(&exit0, f.end); diff != "" {
					t.Errorf("%s: the end, want - got +:\n%s", when, diff)
				}
				if diff := cmp.Diff([]string{stream.EventEnd}, f.names); diff != "" {
					t.Errorf("%s: other events, want - got +:\n%s", when, diff)
				}
				if resp := s.get(t, f.id); resp.StatusCode != http.StatusNoContent {
					t.Errorf("%s: behind the end: %s", when, resp.Status)
				}
			}
		})
	}
}

// Whoever comes back, however often and from wherever they were, gets exactly the rest.
func TestResume(t *testing.T) {
	s := serve(t, stream.Options{}, limits)
	var want bytes.Buffer
	written := make(chan struct{})
	go func() {
		defer close(written)
		out := io.MultiWriter(s.out, &want)
		for i := range 6000 {
			fmt.Fprintf(out, "line %d %s\n", i, strings.Repeat("y", i%100))
		}
		_ = s.log.End(exit0)
	}()
	var all sync.WaitGroup
	followers := make([]follower, 8)
	for i := range followers {
		f := &followers[i]
		all.Go(func() {
			for f.end == nil && t.Context().Err() == nil {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
				if f.id != "" {
					req.Header.Set("Last-Event-ID", f.id)
				}
				resp, err := s.Client().Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				f.take(t, resp.Body, 1+rand.N(1500))
				resp.Body.Close()
			}
		})
	}
	all.Wait()
	<-written
	for i := range followers {
		if !bytes.Equal(followers[i].text.Bytes(), want.Bytes()) {
			t.Errorf("follower %d has %d bytes of %d, or others", i, followers[i].text.Len(), want.Len())
		}
	}
}

// Where records are dropped, the subscriber is told which, and at the end that the log is not whole.
func TestGap(t *testing.T) {
	s := serve(t, stream.Options{}, outlog.Limits{Bytes: outlog.MinBytes})
	for i := range 20_000 {
		fmt.Fprintf(s.out, "line %d %080d\n", i, i)
	}
	finish(t, s)
	var f follower
	f.take(t, s.get(t, "").Body, 1<<30)
	if len(f.gaps) != 1 || f.end == nil {
		t.Fatalf("%d gaps, end %v", len(f.gaps), f.end)
	}
	g := f.gaps[0]
	if g.Dropped != g.To-g.From+1 || int(g.Dropped)+f.records != 20_000 {
		t.Errorf("%+v, and %d records", g, f.records)
	}
	if diff := cmp.Diff([]string{stream.EventGap, stream.EventTruncated, stream.EventEnd}, f.names); diff != "" {
		t.Errorf("other events, want - got +:\n%s", diff)
	}
	// In the middle of the gap; and right behind it.
	var in, behind follower
	in.take(t, s.get(t, fmt.Sprint(g.From+5)).Body, 1<<30)
	if len(in.gaps) != 1 || in.gaps[0] != (stream.Gap{From: g.From + 6, To: g.To, Dropped: g.To - g.From - 5}) {
		t.Errorf("in the middle of %+v: %+v", g, in.gaps)
	}
	behind.take(t, s.get(t, fmt.Sprint(g.To)).Body, 1<<30)
	if len(behind.gaps) != 0 || behind.records != in.records {
		t.Errorf("behind %+v: %+v, %d records of %d", g, behind.gaps, behind.records, in.records)
	}
}

func TestWrongID(t *testing.T) {
	s := serve(t, stream.Options{}, limits)
	io.WriteString(s.out, "one\ntwo\n")
	var f follower
	f.take(t, s.get(t, "").Body, 2)
	for _, id := range []string{"x", "-1", "1.5", "3", "18446744073709551616", strings.Repeat("9", 200)} {
		if resp := s.get(t, id); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%.30s: %s", id, resp.Status)
		}
	}
	finish(t, s)
	if resp := s.get(t, "4"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("beyond the end: %s", resp.Status)
	}
	if n := s.hub.Stats().Opened; n != 1 {
		t.Errorf("%d were opened", n)
	}
}

// eventually waits for something that another goroutine or the kernel does; that it does not happen is found by the test's own timeout.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for !is() {
		select {
		case <-t.Context().Done():
			t.Fatal(what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *service) closedBy(r stream.Reason) int64 { return s.hub.Stats().Closed[r] }

func TestCaps(t *testing.T) {
	s := serve(t, stream.Options{Total: 4, PerCommand: 3, PerKey: 2, Heartbeat: time.Hour}, limits)
	s.get(t, "", "Key", "a")
	second := s.get(t, "", "Key", "a")
	refused := func(key string, status int) {
		t.Helper()
		resp := s.get(t, "", "Key", key)
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		if resp.StatusCode != status || after < 1 {
			t.Errorf("key %s: %s, Retry-After %d; want %d", key, resp.Status, after, status)
		}
	}
	refused("a", http.StatusTooManyRequests)
	s.get(t, "", "Key", "b")
	refused("c", http.StatusServiceUnavailable) // of one command
	second.Body.Close()
	eventually(t, "a client that left makes room", func() bool { return s.closedBy(stream.ReasonLeft) == 1 })
	s.get(t, "", "Key", "a")
	refused("a", http.StatusTooManyRequests)
	if got := s.hub.Stats(); got.Refused != 3 || got.Active != 3 {
		t.Errorf("%+v", got)
	}
}

// A connection ends at its age, when its key expires, and when its key is revoked; the client sees a proper end of the answer.
func TestEnds(t *testing.T) {
	for name, start := range map[string]func(*service){
		"taken over": func(s *service) { s.Start() },
		"HTTP/2":     func(s *service) { s.EnableHTTP2 = true; s.StartTLS() },
	} {
		t.Run(name, func(t *testing.T) {
			s := unstarted(t, stream.Options{}, limits)
			start(s)
			expires := s.get(t, "", "Key", "a", "Until", time.Now().Add(time.Second).Format(time.RFC3339Nano))
			revoked := s.get(t, "", "Key", "b")
			s.hub.EndKey("b")
			for _, resp := range []*http.Response{expires, revoked} {
				if text, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(text, []byte("retry: ")) {
					t.Errorf("%q, %v", text, err)
				}
			}
			eventually(t, "both are closed", func() bool {
				return s.closedBy(stream.ReasonAge) == 1 && s.closedBy(stream.ReasonClosing) == 1
			})
		})
	}
}

func TestHeartbeat(t *testing.T) {
	s := serve(t, stream.Options{Heartbeat: 1500 * time.Millisecond}, limits)
	body := s.get(t, "").Body
	want := "\n\n:\n\n:\n\n"
	var got string
	for b := make([]byte, 1); !strings.HasSuffix(got, want); {
		n, err := body.Read(b)
		if err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		got += string(b[:n])
	}
}

// dial connects a client with a small window that asks for events and never reads.
func dial(t *testing.T, s *service) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if c, ok := conn.(*net.TCPConn); ok {
		if err := c.SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
	}
	if s.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nKey: bad\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A client that does not read is cut off, whether there is much for it or next to nothing; who reads gets everything meanwhile.
func TestStalled(t *testing.T) {
	for name, start := range map[string]func(*service){
		"taken over": func(s *service) { s.Start() },
		"TLS":        func(s *service) { s.StartTLS() },
	} {
		t.Run(name, func(t *testing.T) {
			s := unstarted(t, stream.Options{WriteTimeout: time.Second}, limits)
			start(s)
			const bad = 10
			for range bad {
				dial(t, s)
			}
			eventually(t, "all are served", func() bool { return s.hub.Stats().Active == bad })
			var f follower
			good := s.get(t, "")
			go func() {
				for i := range 20_000 {
					fmt.Fprintf(s.out, "line %d %080d\n", i, i)
				}
				_ = s.log.End(exit0)
			}()
			f.take(t, good.Body, 1<<30)
			if f.records != 20_000 || f.end == nil {
				t.Errorf("who reads has %d records", f.records)
			}
			eventually(t, "the others are cut off", func() bool { return s.closedBy(stream.ReasonStalled) == bad })
		})
	}
}

// A client that reads late gets every byte, though it was left behind in the middle of an event.
func TestLate(t *testing.T) {
	s := serve(t, stream.Options{}, limits)
	resp := s.get(t, "")
	var want bytes.Buffer
	out := io.MultiWriter(s.out, &want)
	for i := 0; s.hub.Stats().Lagged == 0; i++ {
		fmt.Fprintf(out, "line %d %s\n", i, strings.Repeat("z", 7*i%2000))
	}
	finish(t, s)
	var f follower
	f.take(t, resp.Body, 1<<30)
	if !bytes.Equal(f.text.Bytes(), want.Bytes()) || f.end == nil || len(f.gaps) > 0 {
		t.Errorf("%d bytes of %d, or others; end %v, gaps %v", f.text.Len(), want.Len(), f.end, f.gaps)
	}
}

// Heartbeats are small enough for a long time to go into a client's buffers, but what it does not acknowledge is noticed by the kernel.
func TestStalledInSilence(t *testing.T) {
	s := serve(t, stream.Options{WriteTimeout: 2 * time.Second, Heartbeat: time.Second}, limits)
	dial(t, s)
	eventually(t, "it is served", func() bool { return s.hub.Stats().Active == 1 })
	// More than its window, and less than what the kernel takes for it.
	fmt.Fprintf(s.out, "%s\n", strings.Repeat("x", 100_000))
	eventually(t, "it is cut off", func() bool { return s.closedBy(stream.ReasonStalled) == 1 })
}

// Those who come and go leave nothing behind.
func TestNothingLeaks(t *testing.T) {
	s := serve(t, stream.Options{WriteTimeout: time.Second, Heartbeat: time.Hour}, limits)
	io.WriteString(s.out, "a line\n")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	visit := func(i int) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		resp, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		if i%2 == 0 {
			(&follower{}).take(t, resp.Body, 1)
		}
	}
	visit(0)
	idle := func() bool { return s.hub.Stats().Active == 0 }
	eventually(t, "the first is gone", idle)
	files, routines := descriptors(t), runtime.NumGoroutine()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for i := range 25 {
				visit(i)
			}
		})
	}
	all.Wait()
	eventually(t, "all are gone", idle)
	eventually(t, "descriptors return", func() bool { return descriptors(t) <= files })
	eventually(t, "goroutines return", func() bool { return runtime.NumGoroutine() <= routines })
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("skipped: descriptors cannot be counted without /proc")
	}
	return len(entries)
}
