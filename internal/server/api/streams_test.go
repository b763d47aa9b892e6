package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
)

// kept are the events of a job that has ended.
func kept() []scanner.Event {
	var events []scanner.Event
	for id, kind := range []scanner.EventKind{scanner.EventSubmitted, scanner.EventStarted, scanner.EventOOM, scanner.EventRequeued, scanner.EventStarted, scanner.EventEnded} {
		events = append(events, scanner.Event{ID: int64(10 + id), Job: 7, Kind: kind})
	}
	return events
}

// A connection that breaks after every event costs nothing: the client comes back with
// the ID of the last one, and each arrives once.
func TestEventsSurviveBrokenConnections(t *testing.T) {
	run := start(t)
	run.events = func(_ context.Context, after int64, fn func(scanner.Event) error) error {
		for _, e := range kept() {
			if e.ID <= after {
				continue
			}
			if err := errors.Join(fn(e), fn(scanner.Event{Kind: scanner.EventProgress, Job: 7, Progress: &scanner.Progress{Read: e.ID}})); err != nil {
				return err
			}
			panic(http.ErrAbortHandler)
		}
		return nil
	}
	var got []scanner.Event
	progress := 0
	err := run.client(t).Events(t.Context(), 7, 0, func(e scanner.Event) error {
		if e.Kind == scanner.EventProgress {
			progress++
			return nil
		}
		got = append(got, e)
		return nil
	})
	if diff := cmp.Diff(kept(), got); diff != "" || err != nil {
		t.Errorf("%v; want - got +:\n%s", err, diff)
	}
	if progress != len(kept())-1 { // the last connection ends with the job
		t.Errorf("progress came %d times", progress)
	}
}

// Who comes back after the end is told so, and does not come again.
func TestNothingAfterTheEnd(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeRead)
	for path, want := range map[string]int{"?after=14": 200, "?after=15": 204, "?after=99": 204, "": 200} {
		if resp := run.do(t, "GET", "/v1/jobs/7/events"+path, key, ""); resp.StatusCode != want {
			t.Errorf("%q: %s, want %d", path, resp.Status, want)
		}
	}
	if err := run.client(t).Events(t.Context(), 7, 15, func(e scanner.Event) error { return fmt.Errorf("got %+v", e) }); err != nil {
		t.Error(err)
	}
}

// An error of the function ends the stream, on both sides.
func TestEventsStop(t *testing.T) {
	run := start(t)
	ended := make(chan error, 1)
	run.events = func(ctx context.Context, _ int64, fn func(scanner.Event) error) error {
		err := fn(kept()[0])
		<-ctx.Done()
		ended <- err
		return ctx.Err()
	}
	enough := errors.New("enough")
	if err := run.client(t).Events(t.Context(), 7, 0, func(scanner.Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the service: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := run.client(t).Events(ctx, 7, 0, func(scanner.Event) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
	<-ended
}

// Shutdown does not wait for streams.
func TestShutdownEndsStreams(t *testing.T) {
	run := start(t)
	run.events = func(ctx context.Context, _ int64, _ func(scanner.Event) error) error { <-ctx.Done(); return ctx.Err() }
	resp := run.do(t, "GET", "/v1/jobs/7/events", run.key(t, scanner.ScopeRead), "")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := run.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Errorf("the stream did not end as it should: %v", err)
	}
}

// A reader that stops costs the server a write timeout, on a real socket with all its buffers.
func TestSlowReader(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout of 10 seconds")
	}
	t.Parallel()
	run := start(t)
	ended := make(chan error, 1)
	run.events = func(ctx context.Context, _ int64, fn func(scanner.Event) error) error {
		for id := int64(1); ; id++ {
			if err := fn(scanner.Event{ID: id, Message: strings.Repeat("x", 4<<10)}); err != nil {
				ended <- err
				return err
			}
		}
	}
	begun := time.Now()
	resp := run.do(t, "GET", "/v1/jobs/7/events", run.key(t, scanner.ScopeRead), "")
	select {
	case err := <-ended:
		t.Logf("cut after %v: %v", time.Since(begun), err)
	case <-time.After(30 * time.Second):
		t.Fatal("30 seconds later the server still waits for the reader")
	}
	resp.Body.Close()
	if _, err := run.client(t).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFollowLogs(t *testing.T) {
	run := start(t)
	run.logs = func(_ context.Context, f scanner.LogFilter, follow bool, fn func(scanner.LogLine) error) error {
		if !follow {
			return errors.New("not followed")
		}
		for id := f.After + 1; id <= f.After+2; id++ {
			if err := fn(scanner.LogLine{ID: id, Message: "line\r\nwith an end"}); err != nil {
				return err
			}
		}
		panic(http.ErrAbortHandler)
	}
	var ids []int64
	enough := errors.New("enough")
	err := run.client(t).Logs(t.Context(), scanner.LogFilter{Text: "x", Tail: 5}, true, func(l scanner.LogLine) error {
		if ids = append(ids, l.ID); len(ids) == 5 {
			return enough
		}
		return nil
	})
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5}, ids); diff != "" || !errors.Is(err, enough) {
		t.Errorf("%v\n%s", err, diff)
	}
	if want := "Text:x Level:info Job:0 Since:0001-01-01 00:00:00 +0000 UTC After:4 Tail:5000"; !strings.Contains(run.last(), want) {
		t.Errorf("the last connection was %s, want %s", run.last(), want)
	}
}

// The document goes through as it is made, and one that breaks off is not taken for whole.
func TestSBOMStreams(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeRead)
	step := make(chan bool)
	run.sbom = func(_ context.Context, w io.Writer) error {
		part := bytes.Repeat([]byte("x"), 64<<10)
		if _, err := w.Write(part); err != nil {
			return err
		}
		<-step
		if _, err := w.Write(part); err != nil {
			return err
		}
		return errors.New("the disk broke")
	}
	resp := run.do(t, "GET", "/v1/jobs/7/sbom?format=spdx-json", key, "")
	if got := resp.Header.Get("Content-Type"); got != "application/spdx+json" {
		t.Errorf("Content-Type %q", got)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 32<<10)); err != nil {
		t.Fatalf("nothing came before the end: %v", err)
	}
	close(step)
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("a document that broke off came as a whole")
	}
	err := run.client(t).SBOM(t.Context(), 7, "", io.Discard)
	if err == nil {
		t.Error("the client took it for whole, too")
	}
}

func TestSBOMFormatsAndTags(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeRead)
	run.sbom = func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "{}"); return err }
	tags := map[string]bool{}
	for format, want := range map[string]string{
		"": "application/vnd.cyclonedx+json", "cyclonedx-json@1.6": "application/vnd.cyclonedx+json",
		"spdx-json": "application/spdx+json", "json": "application/json", "table": "text/plain; charset=utf-8",
	} {
		resp := run.do(t, "GET", "/v1/jobs/7/sbom?format="+format, key, "")
		tag := resp.Header.Get("ETag")
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != want || tags[tag] {
			t.Errorf("%q: %s, %q, %s", format, resp.Status, got, tag)
		}
		tags[tag] = true
		if got := resp.Header.Get("Cache-Control"); got != "private, no-cache" {
			t.Errorf("%q: Cache-Control %q", format, got)
		}
		req, err := http.NewRequestWithContext(t.Context(), "GET", run.tcp+"/v1/jobs/7/sbom?format="+format, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("If-None-Match", tag)
		again, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		again.Body.Close()
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%q with its ETag: %s", format, again.Status)
		}
	}
	wantProblem(t, run.do(t, "GET", "/v1/jobs/7/sbom?format=pdf", key, ""), http.StatusUnprocessableEntity)
	run.err = scanner.Errorf(scanner.ErrConflict, "job 7 is running: it has no result yet")
	wantProblem(t, run.do(t, "GET", "/v1/jobs/7/sbom", key, ""), http.StatusConflict)
}

// A server that ends in the middle of a stream, and another that takes its place on the
// same socket a moment later: the client goes on.
func TestEventsSurviveARestart(t *testing.T) {
	run := start(t)
	run.events = func(ctx context.Context, after int64, fn func(scanner.Event) error) error {
		if after == 0 {
			if err := fn(kept()[0]); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		for _, e := range kept() {
			if e.ID > after {
				if err := fn(e); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var got []int64
	err := run.client(t).Events(t.Context(), 7, 0, func(e scanner.Event) error {
		if got = append(got, e.ID); len(got) == 1 {
			run.stop()
			time.AfterFunc(500*time.Millisecond, func() { run.build(t); run.serve(t) })
		}
		return nil
	})
	if diff := cmp.Diff([]int64{10, 11, 12, 13, 14, 15}, got); diff != "" || err != nil {
		t.Errorf("%v; want - got +:\n%s", err, diff)
	}
}
