package spool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/incident"
	"stella/internal/incident/spool"
)

// receiver is a stellad that keeps the order in which it gets events.
type receiver struct {
	mu    sync.Mutex
	got   []string
	away  bool
	tries int
	most  int // events of one batch
	// refuse is the ID of an event that it does not take.
	refuse string
}

var errAway = errors.New("it is away")

func (r *receiver) Send(_ context.Context, events []incident.Event) (incident.Receipt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries++
	r.most = max(r.most, len(events))
	if r.away {
		return incident.Receipt{}, errAway
	}
	var receipt incident.Receipt
	for _, e := range events {
		if e.ID == r.refuse {
			receipt.Refused = append(receipt.Refused, incident.Refusal{Incident: e.Incident, ID: e.ID, Reason: "because"})
			continue
		}
		r.got = append(r.got, e.ID)
	}
	return receipt, nil
}

// set says whether it is away, and returns how often it was asked.
func (r *receiver) set(away bool) (tries int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = away
	return r.tries
}

func (r *receiver) received() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, dir string, o spool.Options) *spool.Spool {
	t.Helper()
	o.Log = quiet()
	s, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// event is the n-th, of some bytes.
func event(kind incident.Kind, n, bytes int) incident.Event {
	return incident.Event{
		Incident: "i", ID: fmt.Sprintf("%s-%d", kind, n), Time: time.Date(2026, 5, 30, 3, 33, n, 0, time.UTC), Kind: kind, Actor: "test",
		Data: json.RawMessage(`"` + strings.Repeat("x", bytes) + `"`),
	}
}

func add(t *testing.T, s *spool.Spool, events ...incident.Event) {
	t.Helper()
	if err := s.Add(events...); err != nil {
		t.Fatal(err)
	}
}

// run lets the spool send until nothing more happens in a bubble of synctest, with fn in between.
func run(t *testing.T, s *spool.Spool, fn func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { s.Run(ctx) })
	fn()
	synctest.Wait()
	cancel()
	work.Wait()
}

func TestSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{refuse: "noted-7"}
		s := open(t, t.TempDir(), spool.Options{Send: r.Send})
		var want []string
		for i := range 250 {
			e := event(incident.Noted, i, 10)
			add(t, s, e)
			if e.ID != r.refuse {
				want = append(want, e.ID)
			}
		}
		run(t, s, func() {})
		if got := r.received(); !slices.Equal(got, want) {
			t.Errorf("%d events came, in this order: %v", len(got), got)
		}
		if stats := s.Stats(); stats.Sent != 249 || stats.Refused != 1 || stats.Dropped != 0 || stats.Queued != 0 || stats.Bytes > 100 {
			t.Errorf("%+v", stats)
		}
		if r.most != incident.MaxBatch {
			t.Errorf("%d in one batch; want %d", r.most, incident.MaxBatch)
		}
		run(t, s, func() {
			add(t, s, event(incident.Sampled, 1, 10), event(incident.Killed, 1, 10))
		})
		if got := r.received()[249:]; !slices.Equal(got, []string{"killed-1", "sampled-1"}) {
			t.Errorf("events before samples: %v", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A stellad that is away for a day is asked every two minutes, and then gets all in order.
func TestAwayForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{away: true}
		s := open(t, t.TempDir(), spool.Options{Send: r.Send})
		run(t, s, func() {
			for i := range 24 {
				add(t, s, event(incident.Noted, i, 10))
				time.Sleep(time.Hour)
			}
			if tries := r.set(false); tries < 600 || tries > 1000 {
				t.Errorf("asked %d times in a day", tries)
			}
			time.Sleep(3 * time.Minute)
		})
		if got := r.received(); len(got) != 24 || got[0] != "noted-0" || got[23] != "noted-23" {
			t.Errorf("%v", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What was not sent is there for the next process, and one directory is for one.
func TestReopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{}
		s := open(t, dir, spool.Options{Send: r.Send})
		for i := range 1000 {
			add(t, s, event(incident.Noted, i, 1000))
		}
		if _, err := spool.Open(dir, spool.Options{Send: r.Send, Log: quiet()}); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("opened twice: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, spool.Options{Send: r.Send})
		if stats := s.Stats(); stats.Queued != 1000 || stats.Dropped != 0 {
			t.Errorf("%+v", stats)
		}
		run(t, s, func() {})
		if got := r.received(); len(got) != 1000 || got[0] != "noted-0" || got[999] != "noted-999" {
			t.Errorf("%d events: %v", len(got), got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if left := files(t, dir); left > 1000 {
			t.Errorf("%d bytes are left of what was sent", left)
		}
	})
}

// When too many wait, samples go before events, and the oldest first; the files stay within their bound.
func TestMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{}
		s := open(t, dir, spool.Options{Send: r.Send, MaxBytes: spool.MinBytes})
		for i := range 40 {
			add(t, s, event(incident.Noted, i, 20_000), event(incident.Sampled, i, 40_000))
			if n := files(t, dir); n > spool.MinBytes {
				t.Fatalf("%d bytes on disk after %d; at most %d", n, i, spool.MinBytes)
			}
		}
		before := s.Stats()
		if before.Dropped == 0 || before.Queued+before.Dropped != 80 {
			t.Errorf("%+v", before)
		}
		run(t, s, func() {})
		got := r.received()
		if len(got) != int(before.Queued) || !slices.Contains(got, "noted-0") || slices.Contains(got, "sampled-0") || got[len(got)-1] != "sampled-39" {
			t.Errorf("all events and the newest samples should be there: %v", got)
		}
		for i := range 200 {
			add(t, s, event(incident.Noted, 100+i, 20_000))
		}
		run(t, s, func() {})
		got = r.received()
		if got[len(got)-1] != "noted-299" || slices.Contains(got, "noted-100") {
			t.Errorf("the newest events should be there, and not the oldest: %v", got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is dropped while it is being sent takes nothing else with it.
func TestDroppedWhileSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		var s *spool.Spool
		first := true
		s = open(t, t.TempDir(), spool.Options{MaxBytes: spool.MinBytes, Send: func(ctx context.Context, events []incident.Event) (incident.Receipt, error) {
			for i := 0; first && i < 200; i++ {
				add(t, s, event(incident.Noted, 1000+i, 20_000))
			}
			first = false
			return r.Send(ctx, events)
		}})
		add(t, s, event(incident.Noted, 0, 10), event(incident.Noted, 1, 10))
		run(t, s, func() {})
		stats := s.Stats()
		if got := r.received(); stats.Sent != int64(len(got)) || stats.Sent+stats.Dropped != 204 || got[len(got)-1] != "noted-1199" {
			t.Errorf("%+v, and came: %v", stats, got)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A line that is torn or damaged costs itself alone.
func TestDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := &receiver{}
		s := open(t, dir, spool.Options{Send: r.Send})
		for i := range 3 {
			add(t, s, event(incident.Noted, i, 10))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, "events", "0000000000000001.jsonl")
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.Replace(string(text), `"noted-1"`, `"noted-X"`, 1) + "torn")
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, spool.Options{Send: r.Send})
		run(t, s, func() { add(t, s, event(incident.Noted, 3, 10)) })
		if got := r.received(); !slices.Equal(got, []string{"noted-0", "noted-2", "noted-3"}) {
			t.Errorf("%v", got)
		}
		if stats := s.Stats(); stats.Dropped != 1 || stats.Queued != 0 {
			t.Errorf("%+v", stats)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestRefusesWhatIsWrong(t *testing.T) {
	s := open(t, t.TempDir(), spool.Options{})
	defer s.Close()
	bad := event(incident.Noted, 1, 1)
	bad.Incident = "a/b"
	if err := s.Add(event(incident.Noted, 0, 1), bad); err == nil || s.Stats().Queued != 0 {
		t.Errorf("%v, %+v", err, s.Stats())
	}
	if _, err := spool.Open(t.TempDir(), spool.Options{MaxBytes: 1, Log: quiet()}); err == nil {
		t.Error("a spool of one byte")
	}
}

// files is what all files of a directory take.
func files(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
