package rdev

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/client"
	"stella/internal/rdev"
	"stella/internal/testkit"
)

// post asks for a command under an idempotency key, and says whether the service acknowledged it.
func (p *process) post(ctx context.Context, once string, r rdev.Request) (c rdev.Command, ok bool) {
	body, err := json.Marshal(r)
	if err != nil {
		p.t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/v1/projects/web/commands", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Idempotency-Key", once)
	resp, err := p.socket.Do(q)
	if err != nil {
		return c, false
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		return c, false
	}
	return c, json.Unmarshal(text, &c) == nil
}

// killed is what is known of the commands of a service that is killed again and again.
type killed struct {
	mu   sync.Mutex
	keys map[string]string // of what was asked for, by its idempotency key; what was not acknowledged is ""
	ids  map[string]string // the other way
}

// told notes an answer.
func (k *killed) told(t *testing.T, once string, c rdev.Command, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !ok {
		k.keys[once] = ""
		return
	}
	if other, known := k.ids[c.ID]; known && other != once {
		t.Errorf("the ID %s was given for %s and %s", c.ID, other, once)
	}
	if id := k.keys[once]; id != "" && id != c.ID {
		t.Errorf("%s is %s and %s", once, id, c.ID)
	}
	k.keys[once], k.ids[c.ID] = c.ID, once
}

// printing is a command that takes a moment, and whose output says at any place whether something is missing before it.
var printing = rdev.Request{Shell: `echo "$ONCE" >> began; seq 10000; sleep 0.05; seq 10001 20000`}

// The service is killed in the middle of requests, of running and of queued commands, again and again. What was acknowledged is there,
// ended or lost or queued; what was running is ended; each output is readable and has no holes; no ID repeats; nothing runs twice.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	dir, mark := t.TempDir(), rand.Text()
	k := &killed{keys: map[string]string{}, ids: map[string]string{}}
	var p *process
	for round := range 6 {
		p = launch(t, dir, "--running", "3", "--queued", "30", "--output", "16Mi", "--memory", "64Mi")
		if left := alive(t, mark); len(left) > 3 { // those that began since
			t.Errorf("%v run", left)
		}
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for client := range 4 {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					once := fmt.Sprintf("%d.%d.%d", round, client, n)
					r := printing
					r.Env = map[string]string{"MARK": mark, "ONCE": once}
					c, ok := p.post(ctx, once, r)
					if !ok {
						time.Sleep(5 * time.Millisecond) // the queue is full, or this is the end
					}
					k.told(t, once, c, ok)
				}
			})
		}
		time.Sleep(time.Duration(200+mathrand.IntN(400)) * time.Millisecond) // anywhere
		p.end(syscall.SIGKILL)
		stop()
		all.Wait()
	}
	p = launch(t, dir, "--running", "8", "--memory", "64Mi")
	p.askAgain(k, mark)
	ends := map[rdev.Reason]int{}
	for _, id := range slices.Sorted(func(yield func(string) bool) {
		for id := range k.ids {
			if !yield(id) {
				return
			}
		}
	}) {
		c := p.ended(id)
		ends[c.End.Reason]++
		if text := p.output(id, 0); !counts(text, c.End.Reason == rdev.ReasonExit) || int64(len(text)) != c.Output.Bytes && text != "" {
			t.Errorf("%s, which ended by %s, has %d bytes of %+v: …%.100q", id, c.End.Reason, len(text), c.Output, text[max(0, len(text)-100):])
		}
	}
	if n := ends[rdev.ReasonExit] + ends[rdev.ReasonLost]; n != len(k.ids) || ends[rdev.ReasonLost] > 6*3 {
		t.Errorf("%v; of the running ones, 3 at a time can be lost", ends)
	}
	p.beganOnce()
	if left := alive(t, mark); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	t.Logf("6 kills; %d commands: %v", len(k.ids), ends)
}

// askAgain asks for everything under the same keys: what was acknowledged is the same command, the rest is run now, or was written down
// when the answer got lost.
func (p *process) askAgain(k *killed, mark string) {
	asked := []string{}
	for once := range k.keys {
		asked = append(asked, once)
	}
	unanswered := 0
	for _, once := range asked {
		if k.keys[once] == "" {
			if unanswered++; unanswered > 50 {
				continue // most were refused because the queue was full
			}
		}
		r := printing
		r.Env = map[string]string{"MARK": mark, "ONCE": once}
		c, ok := p.post(p.context(), once, r)
		if !ok {
			p.t.Fatalf("%s is not taken", once)
		}
		k.told(p.t.(*testing.T), once, c, true)
	}
}

// counts says whether text is 1, 2, 3… in lines, of which the last may have been cut off unless it is whole.
func counts(text string, whole bool) bool {
	n := 0
	for line := range strings.Lines(text) {
		if n++; line != fmt.Sprintf("%d\n", n) && (whole || !strings.HasPrefix(fmt.Sprint(n), line)) {
			return false
		}
	}
	return !whole || n == 20_000
}

// beganOnce reads what commands wrote down when they began: none did so twice.
func (p *process) beganOnce() {
	p.t.Helper()
	c := p.ended(p.submit(rdev.Request{Shell: "sort began | uniq -d"}).ID)
	if twice := p.output(c.ID, 0); twice != "" || c.End.ExitCode != 0 {
		p.t.Errorf("these began more than once: %s", twice)
	}
}

// One kill, looked at closely.
func TestKilled(t *testing.T) {
	t.Parallel()
	testkit.Need(t, testkit.MemoryCgroup) // without one, who left the session of a command outlives it
	dir, mark := t.TempDir(), rand.Text()
	env := map[string]string{"MARK": mark}
	p := launch(t, dir, "--running", "2")
	ended := p.ended(p.submit(rdev.Request{Shell: "echo ended; exit 3"}).ID)
	running := p.submit(rdev.Request{Env: env, Shell: `echo one; printf unfinished; setsid sleep 600 & sleep 600`})
	stubborn := p.submit(rdev.Request{Env: env, Shell: `trap "" TERM HUP; echo one; echo two; touch up; while :; do sleep 1; done`})
	queued := []rdev.Command{}
	for i := range 5 {
		queued = append(queued, p.submit(rdev.Request{Env: env, Shell: fmt.Sprintf("echo queued %d; exit %d", i, i)}))
	}
	last := queued[4].ID
	p.exists("web/up")
	for start := time.Now(); p.output(running.ID, 0) != "one\nunfinished" || p.output(stubborn.ID, 0) != "one\ntwo\n"; time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatal("the commands do not print")
		}
	}
	p.end(syscall.SIGKILL)
	if len(alive(t, mark)) == 0 {
		t.Error("the commands ended with the service, so this shows nothing")
	}

	p = launch(t, dir, "--running", "2")
	if now := p.ended(ended.ID); now.End.ExitCode != 3 || p.output(ended.ID, 0) != "ended\n" || !now.Finished.Equal(ended.Finished) {
		t.Errorf("what had ended is %+v", now)
	}
	for id, want := range map[string]string{running.ID: "one\nunfinished", stubborn.ID: "one\ntwo\n"} {
		if c := p.ended(id); c.End.Reason != rdev.ReasonLost || c.End.Detail == "" || p.output(id, 0) != want || c.Finished.Before(c.Started) {
			t.Errorf("what was running is %+v, %+v: %q", c, c.End, p.output(id, 0))
		}
	}
	for i, q := range queued {
		if c := p.ended(q.ID); c.End.Reason != rdev.ReasonExit || c.End.ExitCode != i || p.output(q.ID, 0) != fmt.Sprintf("queued %d\n", i) {
			t.Errorf("what was queued is %+v, %+v", c, c.End)
		}
	}
	if left := alive(t, mark); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if c := p.submit(rdev.Request{Shell: "true"}); c.ID <= last {
		t.Errorf("the ID %s comes behind %s", c.ID, last)
	}
	// A stream goes on where it was, over the kill.
	end := 0
	err := p.api.Follow(p.context(), "web", stubborn.ID, client.From{After: 1}, func(e client.OutputEvent) error {
		if e.Output != nil && (e.Seq != 2 || e.Output.Text != "two") || e.End != nil && (e.Seq != 3 || e.End.Reason != rdev.ReasonLost) {
			t.Errorf("%+v", e)
		}
		if e.End != nil {
			end++
		}
		return nil
	})
	if err != nil || end != 1 {
		t.Errorf("%v, %d ends", err, end)
	}
}
