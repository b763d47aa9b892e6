package stream

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

// whole is a log in memory that tells all at once; drop says which records are not kept.
type whole struct {
	records []outlog.Record
	drop    func(seq uint64) bool
	end     rdev.End
}

func (w whole) Read(after uint64, _ []byte, fn func(outlog.Record) bool) (outlog.Position, error) {
	at := outlog.Position{Next: after, Last: uint64(len(w.records))}
	for _, r := range w.records[after:] {
		if !w.drop(r.Seq) && !fn(r) {
			return at, nil
		}
		at.Next = r.Seq
	}
	at.End = &w.end
	return at, nil
}

func (w whole) More(uint64) <-chan struct{} { return closed }

func (w whole) State() outlog.State { return outlog.State{} }

// However a client takes a log, and however often the page that it is sent from is made anew in between, it gets the
// same bytes, each once, and every record is counted.
func FuzzPage(f *testing.F) {
	f.Add([]byte("a\nb\x00\xff\n\nlong long long line\nc"), uint16(0b1000), uint8(7))
	f.Add([]byte("\n\n\n\n\n\n\n\n"), uint16(0b10101010), uint8(1))
	f.Fuzz(func(t *testing.T, output []byte, dropped uint16, step uint8) {
		log := whole{drop: func(seq uint64) bool { return dropped>>(seq%16)&1 == 1 }}
		for i, line := range bytes.SplitAfter(output, []byte("\n")) {
			data, ended := bytes.CutSuffix(line, []byte("\n"))
			r := outlog.Record{Seq: uint64(i) + 1, Stream: rdev.Stderr, Time: time.UnixMilli(1), Data: data}
			if ended {
				r.End = "\n"
			}
			log.records = append(log.records, r)
		}
		kept := 0
		for _, r := range log.records {
			if !log.drop(r.Seq) {
				kept++
			}
		}
		var want, got []byte
		for cursor := uint64(0); ; {
			p := read(t, log, cursor)
			want, cursor = append(want, p.data...), p.last()
			if p.final {
				break
			}
		}
		var at place
		records := 0
		for finished := false; !finished; {
			p := read(t, log, at.cursor)
			for range 3 { // from one page, before it is made anew
				data, ok := p.rest(at)
				if !ok {
					t.Fatalf("what is behind %+v is not in the page", at)
				}
				data = data[:min(len(data), int(step)+1)]
				var n int
				at, n = p.advance(at, len(data))
				got, records = append(got, data...), records+n
			}
			finished = p.final && at.cursor == p.last()
		}
		if !bytes.Equal(got, want) || records != kept {
			t.Fatalf("%d records of %d; got\n%s\nwant\n%s", records, kept, got, want)
		}
	})
}

func read(t *testing.T, log Source, cursor uint64) *page {
	p := &page{after: cursor}
	if err := p.fill(log, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// What was sent of an event is completed by the same event only.
func TestTorn(t *testing.T) {
	log := whole{records: []outlog.Record{{Seq: 1}, {Seq: 2}}, drop: func(uint64) bool { return false }}
	at, _ := read(t, log, 0).advance(place{}, 3)
	if at.sent != 3 || at.torn.id != 1 {
		t.Fatalf("%+v", at)
	}
	if _, ok := read(t, log, 0).rest(at); !ok {
		t.Error("the same event does not complete it")
	}
	log.drop = func(seq uint64) bool { return seq == 1 }
	if _, ok := read(t, log, 0).rest(at); ok {
		t.Error("a gap completes a record")
	}
}

// Any data is a line of JSON that says the same, and base64 is used where it is the shorter way.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("plain \"text\" \\ \t\x1b[0m"))
	f.Add([]byte("\xff\x00\n\r"))
	f.Add(bytes.Repeat([]byte{0}, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		event := appendOutput(nil, outlog.Record{Seq: 7, Stream: rdev.Stdout, Data: data, End: "\r"})
		line, ok := bytes.CutPrefix(event, []byte("id: 7\nevent: output\ndata: "))
		line, end := bytes.CutSuffix(line, []byte("\n\n"))
		if !ok || !end || bytes.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("%q", event)
		}
		var o Output
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !bytes.Equal(append([]byte(o.Text), o.Base64...), data) || o.Stream != rdev.Stdout || o.End != "\r" {
			t.Fatalf("%q became %s", data, line)
		}
		if len(line) > 2*len(data)+200 {
			t.Fatalf("%d bytes became %d", len(data), len(line))
		}
	})
}

// However many logs have subscribers, their pages together are bounded: each feed has its share, and none where there are more feeds than pages.
func TestPagesOfAllFeeds(t *testing.T) {
	log := whole{drop: func(uint64) bool { return false }}
	for i := range 12_000 {
		log.records = append(log.records, outlog.Record{Seq: uint64(i) + 1, Data: bytes.Repeat([]byte("x"), 100)})
	}
	hub, err := New(Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hub.Close() })
	var feeds []*feed
	for _, want := range []struct{ feeds, pages int }{{1, maxPages}, {allPages / maxPages, allPages}, {allPages / 3, allPages / 3 * 3}, {allPages + 1, 0}} {
		for len(feeds) < want.feeds {
			c, err := hub.admit(Subscriber{Command: strconv.Itoa(len(feeds))}, log, uint64(len(log.records)))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { hub.release(c) })
			feeds = append(feeds, c.feed)
		}
		kept := 0
		for _, f := range feeds {
			for cursor := uint64(0); cursor < uint64(len(log.records)); {
				p, s := f.fetch(cursor)
				if s != ready {
					t.Fatal(s)
				}
				cursor = p.last()
			}
			kept += len(f.pages)
		}
		if kept != want.pages {
			t.Errorf("%d feeds keep %d pages, want %d", len(feeds), kept, want.pages)
		}
	}
}
