package rdev

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/stream"
)

// reader is a client that knows only what the specification of server-sent events says.
type reader struct {
	p    *process
	id   string // the command's
	tcp  bool   // with a key, in place of the socket
	last string // Last-Event-ID
	got  []block
}

// block is an event that came whole, as it was on the wire.
type block struct {
	id, name, data string
	raw            string
}

// open asks for the events.
func (r *reader) open(ctx context.Context) (*http.Response, error) {
	host := "localhost"
	if r.tcp {
		host = r.p.listen
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/v1/projects/web/commands/"+r.id+"/events", nil)
	if err != nil {
		return nil, err
	}
	if r.last != "" {
		q.Header.Set("Last-Event-ID", r.last)
	}
	if !r.tcp {
		return r.p.socket.Do(q)
	}
	q.Header.Set("Authorization", "Bearer "+r.p.key)
	return http.DefaultClient.Do(q)
}

// read takes the stream up behind the last event, and reads at most so many bytes of it. done says that there is nothing more.
func (r *reader) read(ctx context.Context, most int64) (done bool, err error) {
	resp, err := r.open(ctx)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		return true, nil
	default:
		text, _ := io.ReadAll(resp.Body)
		return false, fmt.Errorf("%s: %s", resp.Status, text)
	}
	in := bufio.NewReader(io.LimitReader(resp.Body, most))
	var raw strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil { // what is not whole is thrown away; one who is left behind in the midst of an event is reset
			return false, nil
		}
		if raw.WriteString(line); line == "\n" {
			r.take(raw.String())
			raw.Reset()
		}
	}
}

// take notes an event. Comments and the time to wait have neither an ID nor data.
func (r *reader) take(raw string) {
	b := block{raw: raw}
	for line := range strings.Lines(raw) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			b.id = value
		case "event":
			b.name = value
		case "data":
			b.data = value
		}
	}
	if b.id != "" {
		r.last = b.id
		r.got = append(r.got, b)
	}
}

// all reads everything; each connection ends after at most so many bytes as cut says.
func (r *reader) all(ctx context.Context, cut func() int64) (connections int, err error) {
	for {
		connections++
		if done, err := r.read(ctx, cut()); done || err != nil {
			return connections, err
		}
	}
}

func raw(blocks []block) string {
	var text strings.Builder
	for _, b := range blocks {
		text.WriteString(b.raw)
	}
	return text.String()
}

func never() int64 { return 1 << 40 }

// sometimes is a connection's length: often it does not get to the first event, or into the middle of one.
func sometimes(random *rand.Rand) func() int64 {
	return func() int64 {
		if random.IntN(3) == 0 {
			return random.Int64N(400)
		}
		return random.Int64N(1 << 19)
	}
}

// pieces are what a command prints piece by piece: text, progress bars, prompts, binary data, endless lines and what looks like events.
func pieces(random *rand.Rand) (all [][]byte) {
	for range 150 {
		var b []byte
		for range random.IntN(40) {
			switch random.IntN(9) {
			case 0:
				b = fmt.Appendf(b, "Grüße %d ✓ \x1b[31mred\x1b[0m\n", random.Int())
			case 1:
				b = fmt.Appendf(b, "%3d %%\r", random.IntN(100))
			case 2:
				for range random.IntN(300) {
					b = append(b, byte(random.IntN(256)))
				}
			case 3:
				b = append(b, "\n\n\r\n\r\r"...)
			case 4:
				b = append(b, "id: 7\nevent: end\ndata: {}\n\n: \r\rid: 8\r\n\r\n"...)
			case 5:
				b = append(b, "password: "...)
			default:
				b = fmt.Appendf(b, "a line with %q\n", strings.Repeat("x", random.IntN(200)))
			}
		}
		if random.IntN(20) == 0 {
			b = append(b, bytes.Repeat([]byte("long "), random.IntN(40_000))...)
		}
		all = append(all, b)
	}
	return all
}

// print makes a command print pieces, by turns to stdout and stderr, with pauses, and returns what it printed to each.
func (p *process) print(pieces [][]byte) (c rdev.Command, want map[rdev.Stream][]byte) {
	p.t.Helper()
	want = map[rdev.Stream][]byte{}
	for i, b := range pieces {
		if err := os.WriteFile(p.path(fmt.Sprintf("web/%d", i)), b, 0o600); err != nil {
			p.t.Fatal(err)
		}
		to := []rdev.Stream{rdev.Stdout, rdev.Stderr}[i%2]
		want[to] = append(want[to], b...)
	}
	return p.submit(rdev.Request{Shell: fmt.Sprintf(
		`i=0; while test $i -lt %d; do cat $i; cat $((i+1)) >&2; i=$((i+2)); test $((i %% 6)) -eq 0 && sleep 0.02; done; exit 9`, len(pieces))}), want
}

// Whoever comes back with Last-Event-ID, wherever the connection broke, has exactly what somebody has whose connection
// did not: byte for byte; and that is what the program wrote.
func TestResume(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := launch(t, t.TempDir())
	c, want := p.print(pieces(rand.New(rand.NewPCG(seed, 0))))
	undisturbed := &reader{p: p, id: c.ID}
	readers := make([]*reader, 16)
	var all sync.WaitGroup
	all.Go(func() {
		if n, err := undisturbed.all(p.context(), never); err != nil || n != 2 {
			t.Errorf("%d connections, %v", n, err)
		}
	})
	connections := make([]int, len(readers))
	for i := range readers {
		readers[i] = &reader{p: p, id: c.ID, tcp: i%2 == 0}
		all.Go(func() {
			var err error
			if connections[i], err = readers[i].all(p.context(), sometimes(rand.New(rand.NewPCG(seed, uint64(i+1))))); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	all.Wait()
	whole, broken := raw(undisturbed.got), 0
	for i, r := range readers {
		if broken += connections[i] - 1; raw(r.got) != whole {
			t.Errorf("reader %d has %d events, and one who was not disturbed %d", i, len(r.got), len(undisturbed.got))
		}
	}
	for name, text := range written(t, undisturbed.got) {
		if !bytes.Equal(text, want[name]) {
			t.Errorf("%s: %d bytes were printed, and %d told, or not the same", name, len(want[name]), len(text))
		}
	}
	p.anywhere(c.ID, undisturbed.got, rand.New(rand.NewPCG(seed, 99)))
	p.wrongIDs(c.ID, len(undisturbed.got))
	t.Logf("%d events of %d bytes, %d connections", len(undisturbed.got), len(whole), broken)
}

// written is what a program wrote, by what was told of it.
func written(t *testing.T, blocks []block) map[rdev.Stream][]byte {
	t.Helper()
	all := map[rdev.Stream][]byte{}
	for i, b := range blocks {
		if b.id != strconv.Itoa(i+1) {
			t.Fatalf("event %d has the ID %s", i+1, b.id)
		}
		if b.name != stream.EventOutput {
			if i != len(blocks)-1 || b.name != stream.EventEnd || !strings.Contains(b.data, `"exit_code":9`) {
				t.Errorf("event %d is %s", i+1, b.raw)
			}
			continue
		}
		var o stream.Output
		if err := json.Unmarshal([]byte(b.data), &o); err != nil {
			t.Fatal(err)
		}
		all[o.Stream] = append(append(append(all[o.Stream], o.Text...), o.Base64...), o.End...)
	}
	return all
}

// anywhere goes on at any event, and has to get exactly the rest.
func (p *process) anywhere(id string, whole []block, random *rand.Rand) {
	p.t.Helper()
	for range 50 {
		n := random.IntN(len(whole)) // this many were told
		r := &reader{p: p, id: id, last: strconv.Itoa(n)}
		if _, err := r.all(p.context(), never); err != nil || raw(r.got) != raw(whole[n:]) {
			p.t.Errorf("behind %d there are %d events, and the rest are %d: %v", n, len(r.got), len(whole)-n, err)
		}
	}
}

// wrongIDs are refused; the end's, which is the last, needs no answer.
func (p *process) wrongIDs(id string, end int) {
	p.t.Helper()
	for last, want := range map[string]int{
		"x": 400, "-1": 400, "1.5": 400, "0x1": 400, "18446744073709551616": 400, strconv.Itoa(end + 1): 400,
		strconv.Itoa(end): 204, strconv.Itoa(end - 1): 200, "0": 200,
	} {
		resp, err := (&reader{p: p, id: id, tcp: true, last: last}).open(p.context())
		if err != nil {
			p.t.Fatal(err)
		}
		resp.Body.Close()
		kind := resp.Header.Get("Content-Type")
		if resp.StatusCode != want || want == 400 && !strings.HasPrefix(kind, "application/problem+json") {
			p.t.Errorf("Last-Event-ID %s: %s, %s", last, resp.Status, kind)
		}
	}
}

// Of a log that is too small for what is printed, each reader gets every record, or is told that it is in a gap; what
// is told is true. Who comes back with an ID that is too old is told a gap first.
func TestResumeBehindGap(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := launch(t, t.TempDir())
	const lines = 300_000
	c := p.submit(rdev.Request{Shell: fmt.Sprintf("seq %d", lines), Output: 1 << 20})
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			r := &reader{p: p, id: c.ID, tcp: i%2 == 0}
			if _, err := r.all(p.context(), sometimes(random)); err != nil {
				t.Error(err)
			}
			if _, err := sequence(r.got, 0, lines); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	all.Wait()
	output := p.ended(c.ID).Output
	last := int(output.Last) // more than the lines, where one was shown before it had its end
	for _, after := range []int{0, 1, 1000, last / 4, last / 2, last - 20_000, last - 1, last} {
		r := &reader{p: p, id: c.ID, last: strconv.Itoa(after)}
		if _, err := r.all(p.context(), never); err != nil {
			t.Fatal(err)
		}
		missing, err := sequence(r.got, after, lines)
		if err != nil {
			t.Errorf("behind %d: %v", after, err)
		}
		if old := after < last-20_000; old != (missing > 0) || after == 0 && missing != output.Dropped {
			t.Errorf("behind %d, %d records are missing, of %d", after, missing, output.Dropped)
		}
		if after == last/2 && r.got[0].name != stream.EventGap {
			t.Errorf("the first is %s", r.got[0].raw)
		}
		if id := r.got[len(r.got)-1].id; id != strconv.Itoa(last+1) {
			t.Errorf("the end has the ID %s; the last record has %d", id, last)
		}
	}
}

// counter follows the lines of the program seq, of which some are not there.
type counter struct {
	known bool // number is that of the last line
	begun bool // line has its beginning
	line  string
	last  int
}

// take reads a record. Where lines before it are missing, it may be the end of one.
func (c *counter) take(o stream.Output) error {
	if c.line += o.Text; o.End != "\n" {
		return nil
	}
	n, err := strconv.Atoi(c.line)
	if c.begun && (err != nil || c.known && n != c.last+1 || n <= c.last) {
		return fmt.Errorf("behind line %d comes %q", c.last, c.line)
	}
	if c.begun {
		c.known, c.last = true, n
	}
	c.begun, c.line = true, ""
	return nil
}

// lose forgets where it is, as some records are missing.
func (c *counter) lose() { c.known, c.begun, c.line = false, false, "" }

// sequence reads events of the program seq behind a cursor, and says how many of its records are in gaps.
func sequence(blocks []block, after, lines int) (missing int64, err error) {
	count := counter{known: after == 0, begun: after == 0}
	for _, b := range blocks {
		id, _ := strconv.Atoi(b.id) // what is none is wrong below
		var o stream.Output
		var g stream.Gap
		switch b.name {
		case stream.EventOutput:
			if err := json.Unmarshal([]byte(b.data), &o); err != nil || id != after+1 {
				return 0, fmt.Errorf("behind %d comes %q, %w", after, b.raw, err)
			}
			if err := count.take(o); err != nil {
				return 0, err
			}
		case stream.EventGap:
			if err := json.Unmarshal([]byte(b.data), &g); err != nil || int(g.From) != after+1 || int(g.To) != id || g.Dropped != g.To-g.From+1 {
				return 0, fmt.Errorf("behind %d comes %q, %w", after, b.raw, err)
			}
			missing += int64(g.Dropped)
			count.lose()
		case stream.EventEnd:
			if id != after+1 || count.known && count.last != lines {
				return 0, fmt.Errorf("behind %d, and line %d, comes %q", after, count.last, b.raw)
			}
			return missing, nil
		}
		after = id
	}
	return 0, errors.New("there is no end")
}
