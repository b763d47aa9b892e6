package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/incident"
)

var began = time.Date(2026, 5, 30, 3, 33, 0, 0, time.UTC)

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	o.Log = slog.New(slog.DiscardHandler)
	s, err := Open(dir, o, func(incident.Details) {})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func opened(id string, at time.Time) incident.Event {
	return incident.Event{
		Incident: id, ID: "opened", Time: at, Kind: incident.Opened, Actor: "test", Source: incident.SourceNode,
		Subject: &incident.Subject{Name: "shop/" + id, Namespace: "shop"}, Limit: &incident.Limit{Scope: "container", Bytes: 64 << 20},
	}
}

func kill(id string, n int) incident.Event {
	return incident.Event{
		Incident: id, ID: fmt.Sprintf("kill-%d", n), Time: began.Add(time.Duration(n) * time.Second), Kind: incident.Killed, Actor: "test", Kills: 1,
		Text: "web[7] was killed", Data: []byte(`{"id":"` + strings.Repeat("x", 900) + `"}`),
	}
}

func add(t testing.TB, s *Store, want int, events ...incident.Event) {
	t.Helper()
	n, err := s.Append(events...)
	if err != nil || n != want {
		t.Fatalf("%d of %d are new: %v, want %d", n, len(events), err, want)
	}
}

func TestEachEventOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, err := s.Append(kill("a", 1)); !errors.Is(err, ErrNotFound) {
		t.Errorf("a kill of no incident: %v", err)
	}
	if _, err := s.Append(opened("../a", began)); !errors.Is(err, ErrNotFound) {
		t.Errorf("an incident outside: %v", err)
	}
	if _, err := s.Append(opened("a", began), kill("b", 1)); err == nil {
		t.Error("a batch of two incidents")
	}
	add(t, s, 2, opened("a", began), kill("a", 2))
	add(t, s, 1, kill("a", 2), kill("a", 1), kill("a", 1)) // an older one, too
	add(t, s, 1, opened("b", began.Add(time.Hour)))
	check := func(s *Store) {
		t.Helper()
		in, ok := s.Incident("a")
		if !ok || in.Kills != 2 || in.First != began.Add(time.Second) || in.Events != 3 {
			t.Errorf("%v %+v", ok, in)
		}
		d, err := s.Details("a")
		if err != nil || len(d.Timeline) != 3 || !reflect.DeepEqual(d.Incident, in) || d.Timeline[1].ID != "kill-1" {
			t.Errorf("%v %+v", err, d)
		}
		if all := s.List(incident.Filter{}); len(all) != 2 || all[0].ID != "b" {
			t.Errorf("%+v", all)
		}
		if all := s.List(incident.Filter{Name: "shop/a", State: incident.Going}); len(all) != 1 || all[0].ID != "a" {
			t.Errorf("%+v", all)
		}
		if _, err := s.Details("c"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v", err)
		}
	}
	check(s)
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
	s = open(t, dir, Options{})
	check(s)
	add(t, s, 0, kill("a", 1), opened("a", began))
	correction := kill("a", 3)
	correction.Replaces, correction.Kills = "kill-1", 5
	add(t, s, 1, correction)
	if in, _ := s.Incident("a"); in.Kills != 6 {
		t.Errorf("%+v", in)
	}
}

// However a crash tears the file, what was written before is there, and it can be written to.
func TestTorn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	add(t, s, 2, opened("a", began), kill("a", 1))
	whole, err := os.ReadFile(filepath.Join(dir, "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Count(whole, []byte("\n"))
	for cut := 0; cut < len(whole); cut += 7 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.jsonl"), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, dir, Options{})
		want := bytes.Count(whole[:cut], []byte("\n"))
		if in, ok := s.Incident("a"); ok != (want > 0) || in.Events != want {
			t.Fatalf("cut at %d: %v %+v", cut, ok, in)
		}
		add(t, s, lines-want, opened("a", began), kill("a", 1))
		if got, err := os.ReadFile(filepath.Join(dir, "a.jsonl")); err != nil || !bytes.Equal(got, whole) {
			t.Fatalf("cut at %d: %v\n%s\nwant\n%s", cut, err, got, whole)
		}
	}
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	add(t, s, 2, opened("a", began), kill("a", 1))
	if err := os.WriteFile(filepath.Join(dir, "a.jsonl"), append([]byte("{\n\xff\x00\n"), must(encode([]incident.Event{opened("a", began), kill("b", 1), kill("a", 1)}))...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if in, ok := s.Incident("a"); !ok || in.Events != 2 {
		t.Errorf("beside damaged lines: %+v", in)
	}
	// A file that cannot be written: nothing changes, and later it can be.
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Append(kill("a", 2)); err == nil {
		t.Errorf("%d events are where nothing can be written", n)
	}
	if _, err := s.Append(opened("n", began)); err == nil {
		t.Error("an incident is where nothing can be written")
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	add(t, s, 1, kill("a", 2))
	add(t, s, 1, opened("n", began))
	if _, err := Open(dir, Options{MaxBytes: 1}, nil); err == nil {
		t.Error("a store without room")
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A storm that goes on for ever stays within the bounds, and none of its kills is lost.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{MaxBytes: 2 * maxFile})
	add(t, s, 1, opened("a", began))
	const storm = 3 * incident.MaxEvents
	for n := 1; n <= storm; n += 10 {
		var batch []incident.Event
		for i := n; i < n+10; i++ {
			batch = append(batch, kill("a", i))
		}
		add(t, s, 10, batch...)
	}
	in, _ := s.Incident("a")
	if in.Kills != storm || in.Events > incident.MaxEvents || in.First != began.Add(time.Second) || in.Last != began.Add(storm*time.Second) {
		t.Errorf("%+v", in)
	}
	add(t, s, 0, kill("a", storm))
	// What people add has a bound, too; that they end it has none.
	var err error
	for n := 0; err == nil && n < 2*incident.MaxEvents; n++ {
		_, err = s.Append(incident.Event{Incident: "a", ID: fmt.Sprintf("note-%d", n), Time: began.Add(24 * time.Hour), Kind: incident.Noted, Text: strings.Repeat("x", 4000)})
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("notes without end: %v", err)
	}
	add(t, s, 1, incident.Event{Incident: "a", ID: "end", Time: began.Add(25 * time.Hour), Kind: incident.Ended})
	if again := open(t, dir, Options{MaxBytes: 2 * maxFile}); true {
		before, _ := s.Incident("a")
		after, _ := again.Incident("a")
		if diff := cmp.Diff(before, after); diff != "" {
			t.Error(diff)
		}
	}
	// Many incidents: those that ended go first.
	for n := range 2 * maxIncidents {
		id := fmt.Sprintf("i%d", n)
		add(t, s, 1, opened(id, began.Add(time.Duration(n)*time.Hour)))
		if in, ok := s.Incident("a"); ok != (n == 0) && n > maxIncidents {
			t.Fatalf("after %d: %v %+v", n, ok, in)
		}
	}
	if all := s.List(incident.Filter{}); len(all) != maxIncidents || all[0].ID != fmt.Sprintf("i%d", 2*maxIncidents-1) {
		t.Errorf("%d are kept, the newest %s", len(all), all[0].ID)
	}
	var size int64
	names, _ := os.ReadDir(dir)
	for _, name := range names {
		info, err := name.Info()
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size != s.Bytes() || size > 2*maxFile || len(names) != maxIncidents || len(s.loaded) > maxIDs {
		t.Errorf("%d bytes in %d files, %d counted, %d loaded", size, len(names), s.Bytes(), len(s.loaded))
	}
}

// What follows from an incident does not change when it is thinned.
func TestThinned(t *testing.T) {
	events := []incident.Event{opened("a", began)}
	for n := 1; n <= 1000; n++ {
		e := kill("a", n)
		switch n % 100 {
		case 7:
			e.Kind = incident.Remedied
		case 13:
			e.Kind = incident.Explained
			e.Cause = "leak"
		case 17:
			e.Kind = incident.Sampled
		case 31:
			e.Kind = incident.RolledBack
		case 40:
			e.Replaces = fmt.Sprintf("kill-%d", n-1)
		}
		events = append(events, e)
	}
	events = incident.Timeline(events)
	want, _ := incident.Fold(events)
	thin := thinned(events)
	got, _ := incident.Fold(thin)
	if len(thin) > 250 || got.Kills != want.Kills || got.State != want.State || got.First != want.First || got.Last != want.Last || got.Cause != want.Cause {
		t.Errorf("%d events\n%+v\nwant\n%+v", len(thin), got, want)
	}
	if again := thinned(thin); len(again) > len(thin) {
		t.Errorf("%d, and again %d", len(thin), len(again))
	}
}

func TestFollow(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	add(t, s, 1, opened("a", began))
	enough := errors.New("enough")
	var got []string
	var at string
	read := func(after string, n int) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got = nil
		return s.Follow(ctx, after, func(cursor string, e incident.Event) error {
			got, at = append(got, e.ID), cursor
			if e.Data != nil {
				t.Errorf("%+v", e)
			}
			if len(got) == n {
				return enough
			}
			return nil
		})
	}
	if err := read("other-0", 1); !errors.Is(err, enough) || got[0] != "opened" {
		t.Errorf("%v %v", got, err)
	}
	cursor := at
	for n := 1; n <= 3*maxFollowed; n++ {
		add(t, s, 1, kill("a", n))
		if n == 3 {
			if err := read(cursor, 3); !errors.Is(err, enough) || fmt.Sprint(got) != "[kill-1 kill-2 kill-3]" {
				t.Errorf("%v %v", got, err)
			}
		}
	}
	if err := read(cursor, maxFollowed); !errors.Is(err, enough) || got[0] != fmt.Sprintf("kill-%d", 2*maxFollowed+1) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"x", "-x", "a-99999999999999999999"} {
		if err := read(bad, 1); err == nil || errors.Is(err, enough) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Follow(ctx, "", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Whatever a file has, what is read of it is written the same.
func FuzzDecode(f *testing.F) {
	f.Add(must(encode([]incident.Event{opened("a", began), kill("a", 1)})))
	f.Add([]byte("{}\n{\"incident\":\"a\",\"id\":\"b\",\"kind\":\"killed\",\"data\":{}}\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		events, whole, _, err := decode(bytes.NewReader(text), "a")
		if err != nil || whole > int64(len(text)) {
			t.Fatalf("%d of %d: %v", whole, len(text), err)
		}
		written, err := encode(events)
		if err != nil {
			t.Skip(err) // a time or a line that JSON does not have room for
		}
		again, _, damaged, err := decode(bytes.NewReader(written), "a")
		if err != nil || damaged > 0 || len(again) != len(events) {
			t.Fatalf("%d events, then %d, %d damaged: %v", len(events), len(again), damaged, err)
		}
	})
}
