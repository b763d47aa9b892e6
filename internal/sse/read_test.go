package sse_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/sse"
)

// readAll returns all events of a stream, and the error at its end.
func readAll(r io.Reader) ([]sse.Event, error) {
	var events []sse.Event
	for stream := sse.NewReader(r); ; {
		e, err := stream.Next()
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

// The rules are those of the standard's section 9.2.6, Interpreting an event stream.
func TestReader(t *testing.T) {
	event := func(id, name, data string) sse.Event { return sse.Event{ID: id, Name: name, Data: []byte(data)} }
	tests := []struct {
		name, stream string
		want         []sse.Event
	}{
		{"one", "id: 7\nevent: oom\ndata: {}\n\n", []sse.Event{event("7", "oom", "{}")}},
		{"lines", "data: a\ndata: b\ndata:\n\n", []sse.Event{event("", "", "a\nb\n")}},
		{"one space is dropped", "data:  a\n\ndata:b\n\n", []sse.Event{event("", "", " a"), event("", "", "b")}},
		{"carriage returns", "data: a\r\rdata: b\r\n\r\ndata: c\n\r", []sse.Event{event("", "", "a"), event("", "", "b"), event("", "", "c")}},
		{"byte order mark", "\ufeffdata: a\n\n", []sse.Event{event("", "", "a")}},
		{"comments", ": hello\n\n:\n\ndata: a\n: b\n\n", []sse.Event{event("", "", "a")}},
		{"the ID stays", "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", []sse.Event{event("1", "", "a"), event("1", "", "b"), event("", "", "c")}},
		{"the ID of an event without data stays too", "id: 5\n\ndata: a\n\n", []sse.Event{event("5", "", "a")}},
		{"an ID with a zero byte is none", "id: 1\x002\ndata: a\n\n", []sse.Event{event("", "", "a")}},
		{"the name does not stay", "event: x\n\ndata: a\n\n", []sse.Event{event("", "", "a")}},
		{"data may be empty", "data\n\n", []sse.Event{event("", "", "")}},
		{"fields nobody knows", "retry: 5\nwhat: 1\ndata: a\n\n", []sse.Event{event("", "", "a")}},
		{"what is not finished is dropped", "data: a\n\ndata: b\n", []sse.Event{event("", "", "a")}},
		{"nothing", "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readAll(strings.NewReader(test.stream))
			if diff := cmp.Diff(test.want, got); diff != "" || err != io.EOF {
				t.Errorf("error %v; want - got +:\n%s", err, diff)
			}
		})
	}
}

// A carriage return ends the line at once: the reader must not wait to see what comes next.
func TestReaderDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go io.WriteString(w, "data: a\r\r")
	e, err := sse.NewReader(r).Next()
	if err != nil || string(e.Data) != "a" {
		t.Errorf("got %q, %v", e.Data, err)
	}
}

func TestReaderIsBounded(t *testing.T) {
	line := strings.Repeat("x", sse.MaxEvent/2)
	for name, stream := range map[string]io.Reader{
		"a line without end": io.MultiReader(strings.NewReader("data: "), endless{}),
		"data without end":   strings.NewReader("data: " + line + "\ndata: " + line + "\n\n"),
		"a comment":          io.MultiReader(strings.NewReader(":"), endless{}),
	} {
		if _, err := readAll(stream); !errors.Is(err, sse.ErrTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if events, err := readAll(strings.NewReader("data: " + line + "\n\n")); len(events) != 1 || err != io.EOF {
		t.Errorf("an event of half the size: %d events, %v", len(events), err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// What Reader gives for any stream, Serve can send, and Reader reads again; and how the
// stream is cut into packets does not matter.
func FuzzReader(f *testing.F) {
	f.Add([]byte("id: 1\nevent: a\ndata: b\ndata\n\n:\n\ndata: c\r\n\r\n"))
	f.Add([]byte("\ufeffdata: a\rid: \x00\r\r"))
	f.Add([]byte("data\n\ndata:\ndata:  \n\nid\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		events, err := readAll(bytes.NewReader(stream))
		again, errAgain := readAll(iotest.OneByteReader(bytes.NewReader(stream)))
		if diff := cmp.Diff(events, again); diff != "" || (err == nil) != (errAgain == nil) {
			t.Fatalf("byte by byte it is another stream (%v, %v):\n%s", err, errAgain, diff)
		}
		for _, e := range events {
			if len(e.Data) > sse.MaxEvent {
				t.Fatalf("an event of %d bytes", len(e.Data))
			}
		}
		sent := httptest.NewRecorder()
		err = sse.Serve(withDeadlines{sent}, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), nil,
			func(_ context.Context, send func(sse.Event) error) error {
				for _, e := range events {
					if err := send(e); err != nil {
						return err
					}
				}
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		echo, _ := readAll(sent.Body)
		// An empty ID is not sent, so the one before it stays.
		for i := range events {
			if i > 0 && events[i].ID == "" {
				events[i].ID = events[i-1].ID
			}
		}
		if diff := cmp.Diff(events, echo); diff != "" {
			t.Fatalf("sent and read again, want - got +:\n%s", diff)
		}
	})
}

// withDeadlines is a recorder that takes deadlines, which nothing here reaches.
type withDeadlines struct{ *httptest.ResponseRecorder }

func (withDeadlines) SetWriteDeadline(time.Time) error { return nil }
