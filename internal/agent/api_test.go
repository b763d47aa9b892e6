package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/ledger"
	"stella/internal/sse"
)

// shown is a node with a real ledger, and the rest as a test wants it.
type shown struct {
	*ledger.Ledger
	usage []oom.Usage
	asked []string
}

func (s *shown) Usage() []oom.Usage { return s.usage }
func (s *shown) Series(cgroup string) []oom.Sample {
	s.asked = append(s.asked, cgroup)
	return nil
}
func (s *shown) Limits(cgroup string) ([]oom.CgroupLimit, error) {
	switch cgroup {
	case "/gone":
		return nil, fs.ErrNotExist
	case "/odd":
		return nil, errors.New("it cannot be read")
	}
	return []oom.CgroupLimit{{Cgroup: cgroup, Bytes: 64 << 20}}, nil
}
func (s *shown) Gauges(cgroup string) []oom.Gauge {
	s.asked = append(s.asked, cgroup)
	return []oom.Gauge{{Name: "open", Points: []oom.GaugePoint{{Value: 7}}}}
}
func (s *shown) Heaps(cgroup string) []oom.Heap {
	s.asked = append(s.asked, cgroup)
	return []oom.Heap{{ID: "h1"}}
}
func (s *shown) OpenHeap(id string) (io.ReadCloser, error) {
	switch id {
	case "h1":
		return io.NopCloser(strings.NewReader("a profile")), nil
	case "h2":
		return nil, errors.New("the disk is broken")
	}
	return nil, fs.ErrNotExist
}
func (s *shown) Processes(limit int) []oom.ProcessUsage {
	s.asked = append(s.asked, fmt.Sprint(limit))
	return nil
}
func (s *shown) Node() oom.NodeUsage     { return oom.NodeUsage{Name: "n1"} }
func (s *shown) Status() oom.AgentStatus { return oom.AgentStatus{Node: "n1"} }

// kill puts a kill into the ledger.
func (s *shown) kill(seq int, cgroup string) {
	s.Report(oom.Report{
		Seq: uint64(seq), Time: time.Now(), Header: true, Cgroup: cgroup, Process: oom.Process{PID: 100_000 + seq, Comm: "hog"},
		Limit: oom.Limit{Scope: oom.ScopeCgroup, Cgroup: cgroup, Bytes: 1 << 20},
	})
}

func newShown(t *testing.T) *shown {
	t.Helper()
	l, err := ledger.Open(t.TempDir(), ledger.Options{
		Boot: "boot", Node: "n1", Log: slog.New(slog.DiscardHandler),
		Owner: func(cgroup string) oom.Container { return oom.Container{Namespace: "ns", Name: cgroup[1:]} },
		Scope: func(_, _ string) oom.Scope { return oom.ScopeContainer },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return &shown{Ledger: l}
}

// serve serves the API of a node, and returns its address and what ends its streams.
func serve(t *testing.T, s *shown) (url string, closing chan struct{}) {
	t.Helper()
	closing = make(chan struct{})
	server := httptest.NewServer(newAPI(s, incidentsAPI{why: errFound}, slog.New(slog.DiscardHandler), closing).Handler)
	t.Cleanup(server.Close)
	return server.URL, closing
}

// ask makes a request and returns the answer with its body.
func ask(t *testing.T, method, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func TestAnswers(t *testing.T) {
	s := newShown(t)
	url, _ := serve(t, s)
	for path, want := range map[string]string{
		"/v1/kills":               "[]",
		"/v1/containers":          "[]",
		"/v1/processes":           "[]",
		"/v1/processes?limit=7":   "[]",
		"/v1/series?cgroup=/a%0a": "[]",
		"/v1/limits?cgroup=/a/b":  `[{"cgroup":"/a/b","bytes":67108864}]`,
		"/v1/gauges?cgroup=/g":    `"name":"open"`,
		"/v1/heaps?cgroup=/h":     `"id":"h1"`,
		"/v1/node":                `"name":"n1"`,
		"/v1/status":              `"node":"n1"`,
	} {
		answer, text := ask(t, http.MethodGet, url+path)
		if answer.StatusCode != http.StatusOK || !strings.Contains(text, want) || answer.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %v %s, want %s", path, answer.Status, answer.Header, text, want)
		}
	}
	if got := strings.Join(s.asked, " "); !strings.Contains(got, "/a\n") || !strings.Contains(got, "7") || !strings.Contains(got, "1000") {
		t.Errorf("asked for %q", got)
	}

	for id, want := range map[string]int{"h1": http.StatusOK, "h2": http.StatusInternalServerError, "h3": http.StatusNotFound} {
		answer, text := ask(t, http.MethodGet, url+"/v1/heaps/"+id)
		if answer.StatusCode != want || want == http.StatusOK && text != "a profile" || strings.Contains(text, "disk is broken") { // why is in the log
			t.Errorf("heap %s: %s %s", id, answer.Status, text)
		}
	}

	s.kill(1, "/one")
	s.kill(2, "/two")
	for query, want := range map[string]int{
		"": 2, "?namespace=ns": 2, "?container=two": 1, "?pod=p": 0, "?limit=1": 1, "?since=2026-01-01T00:00:00Z": 2, "?workload=w": 0,
		"?since=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano): 0,
	} {
		_, text := ask(t, http.MethodGet, url+"/v1/kills"+query)
		var kills []oom.Kill
		if err := json.Unmarshal([]byte(text), &kills); err != nil || len(kills) != want {
			t.Errorf("%s: %v, %d kills, want %d", query, err, len(kills), want)
		}
	}
	kills := s.Kills(oom.Filter{Limit: 1})
	if answer, text := ask(t, http.MethodGet, url+"/v1/kills/"+kills[0].ID); answer.StatusCode != http.StatusOK || !strings.Contains(text, `"pid":100002`) {
		t.Errorf("%s: %s", answer.Status, text)
	}
}

// What cannot be answered is refused with a problem that says why.
func TestRefusals(t *testing.T) {
	url, _ := serve(t, newShown(t))
	for _, c := range []struct {
		method, path string
		status       int
		detail       string
	}{
		{http.MethodGet, "/v1/kills?since=yesterday", 422, `since: "yesterday" is no time`},
		{http.MethodGet, "/v1/kills?limit=x", 422, "limit"},
		{http.MethodGet, "/v1/kills?limit=-1", 422, "0 to 10000"},
		{http.MethodGet, "/v1/kills?limit=10001", 422, "0 to 10000"},
		{http.MethodGet, "/v1/kills?limit=99999999999999999999", 422, "0 to 10000"},
		{http.MethodGet, "/v1/processes?limit=1001", 422, "0 to 1000"},
		{http.MethodGet, "/v1/series", 422, "begins with /"},
		{http.MethodGet, "/v1/series?cgroup=x", 422, "begins with /"},
		{http.MethodGet, "/v1/series?cgroup=/" + strings.Repeat("x", maxCgroup), 422, "4096"},
		{http.MethodGet, "/v1/limits", 422, "begins with /"},
		{http.MethodGet, "/v1/limits?cgroup=/gone", 404, "no cgroup"},
		{http.MethodGet, "/v1/limits?cgroup=/odd", 503, "cannot be read"},
		{http.MethodGet, "/v1/kills/nothing", 404, "no kill"},
		{http.MethodGet, "/v1/kills/%1b%5b2J%22", 404, "no kill"},
		{http.MethodGet, "/v1/kills/a/b", 404, "docs/agent.md"},
		{http.MethodGet, "/v2", 404, "docs/agent.md"},
		{http.MethodGet, "/", 404, "docs/agent.md"},
		{http.MethodPost, "/v1/kills", 405, "no POST"},
		{http.MethodDelete, "/v1/kills/x", 405, "no DELETE"},
		{http.MethodPut, "/v1/status", 405, "no PUT"},
		{http.MethodPost, "/v2", 404, "docs/agent.md"},
	} {
		answer, text := ask(t, c.method, url+c.path)
		var problem struct {
			Status        int
			Title, Detail string
		}
		err := json.Unmarshal([]byte(text), &problem)
		if err != nil || answer.StatusCode != c.status || problem.Status != c.status || problem.Title == "" || !strings.Contains(problem.Detail, c.detail) ||
			answer.Header.Get("Content-Type") != "application/problem+json" || (answer.Header.Get("Allow") != "") != (c.status == 405) {
			t.Errorf("%s %.40s: %s %s (%v), want %d, %q", c.method, c.path, answer.Status, text, err, c.status, c.detail)
		}
	}
}

// follow opens a stream; it ends with the test at the latest.
func follow(t *testing.T, client *http.Client, url, after string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/kills/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// unknown is the cursor of another ledger: it begins with the oldest event at hand.
const unknown = "other-0"

// next is the next event of a stream.
func next(t *testing.T, r *sse.Reader) (id string, e oom.KillEvent) {
	t.Helper()
	event, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(event.Data, &e); err != nil {
		t.Fatal(err)
	}
	return event.ID, e
}

// A stream that broke goes on behind the last event that was read.
func TestStreamGoesOn(t *testing.T) {
	s := newShown(t)
	url, closing := serve(t, s)
	first := follow(t, http.DefaultClient, url, unknown)
	s.kill(1, "/one")
	s.kill(2, "/two")
	id, e := next(t, sse.NewReader(first.Body))
	if e.Kill.Cgroup != "/one" || id == "" {
		t.Errorf("%q: %+v", id, e)
	}
	first.Body.Close()
	second := sse.NewReader(follow(t, http.DefaultClient, url, id).Body)
	if _, e = next(t, second); e.Kill.Cgroup != "/two" || e.Missed != 0 {
		t.Errorf("%+v", e)
	}
	// One that is no cursor is refused, and says why.
	for _, bad := range []string{"what?", "7", "x-", "x-1x", "x--1", "x-99999999999999999999", strings.Repeat("x", 10_000)} {
		answer := follow(t, http.DefaultClient, url, bad)
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusBadRequest || answer.Header.Get("Content-Type") != "application/problem+json" ||
			!strings.Contains(string(text), "Last-Event-ID: ") || !strings.Contains(string(text), "is no cursor") || len(text) > 500 {
			t.Errorf("%.20q: %s %v %s, %v", bad, answer.Status, answer.Header, text, err)
		}
	}
	close(closing)
	if _, err := second.Next(); err != io.EOF {
		t.Errorf("a stream goes on while the agent ends: %v", err)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	s := newShown(t)
	url, _ := serve(t, s)
	var streams []*http.Response
	for range maxStreams {
		streams = append(streams, follow(t, http.DefaultClient, url, ""))
	}
	refused := follow(t, http.DefaultClient, url, "")
	if refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") == "" {
		t.Errorf("one more stream: %s %v", refused.Status, refused.Header)
	}
	streams[0].Body.Close()
	for begin := time.Now(); ; { // the server notices within milliseconds
		if follow(t, http.DefaultClient, url, "").StatusCode == http.StatusOK {
			return
		}
		if time.Since(begin) > time.Minute {
			t.Fatal("a stream that ended holds its place")
		}
	}
}

// pipes is a listener whose connections hold nothing that was not read.
type pipes struct {
	conns chan net.Conn
	end   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	c, ok := <-p.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p *pipes) Close() error {
	p.end.Do(func() { close(p.conns) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// Who does not read is told how much was left out; nobody waits for it, and in memory are no more than the newest.
func TestSlowReaderIsToldWhatItMissed(t *testing.T) {
	s := newShown(t)
	l := &pipes{conns: make(chan net.Conn, 1)}
	server := newAPI(s, incidentsAPI{}, slog.New(slog.DiscardHandler), nil)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	ours, theirs := net.Pipe()
	l.conns <- theirs
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}}
	url, _ := serve(t, s)
	s.kill(0, "/first")
	first, _ := next(t, sse.NewReader(follow(t, http.DefaultClient, url, unknown).Body))
	stream := follow(t, client, "http://agent", first)

	const kills = 1000
	for i := range kills {
		s.kill(i+1, "/slow")
	}
	r := sse.NewReader(stream.Body)
	var read, missed int64
	for read+missed < kills {
		_, e := next(t, r)
		read++
		missed += e.Missed
	}
	if read+missed != kills || missed < kills/2 {
		t.Errorf("read %d and missed %d of %d", read, missed, kills)
	}
}
