// Package incidents makes incidents of the kills that a node's ledger has, and keeps them.
//
// Words: see [stella/internal/incident] and [stella/internal/oom]. An incident is about a workload (namespace, owner and container; else a container, a unit or a cgroup) and whose limit
// fired. A kill joins the one that has not ended, or opens another. What ran out of memory where no limit fired is the node; all victims of that are of one incident. Kills are
// told when their witnesses had their time, some seconds after they happened; of one that is known otherwise after that, a correction is told. A burst is explained when it
// is over. Beyond [incident.MaxKills] the kills of a minute are told together.
//
// The position is the version in the ledger up to which everything was told. It is written after the events are on disk for good, some seconds later, and after a start everything behind it
// is told again; events have IDs that follow from the node, the boot and the kill, so what was told before is known. So nothing is lost or doubled by a kill -9, nor by a loss of power as far as
// the ledger still has it.
//
// Kills of stellad's workers are left to stellad, whose own incidents they are; those of rdev-api's commands are, where it says so, rdev-api's.
//
// Hazards:
//
//   - Kills that were told together are not corrected.
//   - Samples are in memory: kills of before a restart of the agent are explained by what was sampled since.
//   - With a stellad, an incident that a person closes there ends here half a minute later: kills until then still join it.
package incidents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/incident/files"
	"stella/internal/oom"
)

const (
	// tick is between two looks at what is due.
	tick = time.Second
	// maxExplained bounds the explanations of one tick: each takes 16 ms at most, of an hour of samples.
	maxExplained = 4
	// changesEvery is between two looks at limits and images.
	changesEvery = 30 * time.Second
	// learnEvery is between two questions what ended elsewhere, and learnAgain by how much more than the time since is asked for: clocks differ.
	learnEvery, learnAgain = 30 * time.Second, time.Hour
	// syncEvery is between two waits for the disk. Each file that is synced makes the file system write its journal, for which the ledger may have to wait.
	syncEvery = 10 * time.Second
	// recallTime is of how long before the position was written kills are known one by one: longer than they can be corrected.
	recallTime = 30 * time.Minute
	// maxCursor bounds the file with the position, in bytes.
	maxCursor = 256
)

// Ledger is where kills come from.
type Ledger interface {
	Newest() string
	Replay(after string, fn func(cursor string, e oom.KillEvent) error) (cursor string, err error)
	Follow(ctx context.Context, after string, fn func(cursor string, e oom.KillEvent) error) error
}

// Options are all that this takes from its surroundings.
type Options struct {
	// Dir keeps the incidents over restarts, at most MaxBytes of them; 0 is the default of package files.
	Dir      string
	MaxBytes int64
	Node     string
	Ledger   Ledger
	// Explain says why the last of some processes was killed, with the samples that it looked at.
	Explain func(kills []oom.Kill, since, now time.Time) (explain.Report, []oom.Sample)
	// Before is what happened to the container of a killed process since a time, beside kills. Each has an ID of its own among those of its kind; nil is nothing.
	Before func(k *oom.Kill, since time.Time) []incident.Event
	// Usage is what containers use now.
	Usage func() []oom.Usage
	// Send keeps events to be sent elsewhere; nil sends nothing. It may wait for the disk.
	Send func(...incident.Event) error
	// Elsewhere are the events of incidents that ended where events are sent to, of those with something new since a time; nil is nowhere.
	Elsewhere func(ctx context.Context, since time.Time, mine func(id string) bool) ([]incident.Event, error)
	// CommandsTold says that rdev-api tells of kills of its commands itself.
	CommandsTold bool
	Log          *slog.Logger
}

// Incidents are those of one node. Its methods may be called from several goroutines.
type Incidents struct {
	o     Options
	store *files.Store
	// room is told when kills that waited were told.
	room chan struct{}

	mu     sync.Mutex
	opener opener
	fault  string // why events cannot be kept

	// Only the goroutine of tell uses these.
	outbox []incident.Event // made, and not kept yet
	next   string           // the position when they are
	saved  string           // the position that is on disk
	synced time.Time        // when that was
	looked time.Time        // for changes
}

// Open reads the incidents that there are.
func Open(o Options) (*Incidents, error) {
	n := &Incidents{o: o, room: make(chan struct{}, 1)}
	n.opener = opener{node: o.Node, actor: "stella-agent on " + o.Node, began: time.Now(), ended: n.ended, left: n.left}
	if info, err := os.Stat(n.positionFile()); err == nil {
		n.opener.recent = info.ModTime().Add(-recallTime)
	}
	var err error
	if n.store, err = files.Open(o.Dir, files.Options{MaxBytes: o.MaxBytes, Log: o.Log}, n.opener.recall); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(n.positionFile())
	switch {
	case err == nil && len(text) <= maxCursor:
		n.saved = strings.TrimSpace(string(text))
	case err == nil || errors.Is(err, os.ErrNotExist):
		// The first start: what happened before is known to those who looked, also what the ledger has yet to read in the kernel's log.
		n.saved, n.opener.first = o.Ledger.Newest(), n.opener.began
		err = n.save(n.saved)
	}
	if err != nil {
		return nil, fmt.Errorf("how far kills were told: %w", err)
	}
	n.opener.heard.cursor = n.saved
	return n, nil
}

func (n *Incidents) positionFile() string { return filepath.Join(n.o.Dir, "position") }

// ended reports whether an incident takes no more kills.
func (n *Incidents) ended(id string) bool {
	in, ok := n.store.Incident(id)
	return !ok || in.State.Ended() // one that is not there was removed to make room
}

// left reports whether somebody else tells of kills in a cgroup.
func (n *Incidents) left(cgroup string) bool {
	return of(cgroup, workerGroup) || n.o.CommandsTold && of(cgroup, commandGroup)
}

// Run makes and keeps events until ctx ends. What waits then is told after the next start.
func (n *Incidents) Run(ctx context.Context) error {
	at := n.saved
	var telling sync.WaitGroup
	telling.Go(func() { n.tell(ctx) })
	if n.o.Elsewhere != nil {
		telling.Go(func() { n.learn(ctx) })
	}
	defer telling.Wait()
	for ctx.Err() == nil {
		at = n.follow(ctx, at)
	}
	return nil
}

var (
	errBehind = errors.New("versions were missed")
	errFull   = errors.New("too many kills wait")
)

// follow hears what the ledger tells behind a cursor, until something has to begin again, and returns from where.
func (n *Incidents) follow(ctx context.Context, at string) string {
	hear := func(cursor string, e oom.KillEvent) error {
		if e.Missed > 0 {
			return errBehind
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if !n.opener.hear(cursor, &e, time.Now()) {
			return errFull
		}
		at = cursor
		return nil
	}
	end, err := n.o.Ledger.Replay(at, hear)
	if err == nil {
		at = end
		err = n.o.Ledger.Follow(ctx, at, hear)
	}
	switch {
	case ctx.Err() != nil, errors.Is(err, errBehind):
	case errors.Is(err, errFull):
		select {
		case <-n.room:
		case <-ctx.Done():
		}
	default: // a position that somebody damaged
		n.o.Log.Error("kills cannot be followed from where they were told; those of meanwhile are not in incidents", "position", at, "why", err)
		at = n.o.Ledger.Newest()
	}
	return at
}

// tell keeps what is due until ctx ends, and then what is due at that moment.
func (n *Incidents) tell(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			n.step(time.Now())
			n.tellFault(n.sync(time.Now()))
			return
		case <-ticker.C:
			n.step(time.Now())
			for range maxExplained {
				n.explain(time.Now())
			}
			n.change(time.Now())
		}
	}
}

// step keeps the events that are due.
func (n *Incidents) step(now time.Time) {
	if len(n.outbox) == 0 {
		n.mu.Lock()
		n.outbox = n.opener.due(now)
		n.next = n.opener.position()
		n.mu.Unlock()
		select {
		case n.room <- struct{}{}:
		default:
		}
	}
	err := n.keep()
	if err == nil && now.Sub(n.synced) >= syncEvery {
		err = n.sync(now)
	}
	n.tellFault(err)
}

// sync waits until all that is kept is on disk for good, and then writes down how far that was.
func (n *Incidents) sync(now time.Time) error {
	if len(n.outbox) > 0 {
		return nil
	}
	n.synced = now
	if err := n.store.Sync(); err != nil || n.next == n.saved {
		return err
	}
	return n.save(n.next)
}

// tellFault notes whether events can be kept, and logs it when that is news.
func (n *Incidents) tellFault(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil && n.fault == "":
		n.o.Log.Error("incidents cannot be kept; kills wait in the ledger until they can", "why", err)
	case err == nil && n.fault != "":
		n.o.Log.Info("incidents can be kept again")
	}
	n.fault = ""
	if err != nil {
		n.fault = err.Error()
	}
}

// keep keeps what is in the outbox.
func (n *Incidents) keep() error {
	if len(n.outbox) == 0 {
		return nil
	}
	if n.o.Send != nil {
		if err := n.o.Send(n.outbox...); err != nil {
			return err
		}
	}
	for len(n.outbox) > 0 {
		// In the order in which they were made: an incident is opened before it has kills.
		id, batch := n.outbox[0].Incident, []incident.Event{}
		var rest []incident.Event
		for _, e := range n.outbox {
			if e.Incident == id {
				batch = append(batch, e)
			} else {
				rest = append(rest, e)
			}
		}
		_, err := n.store.Append(batch...)
		switch {
		case errors.Is(err, files.ErrNotFound), errors.Is(err, files.ErrFull): // it was removed meanwhile, to make room, or has none
			n.o.Log.Warn("events of an incident are not kept", "incident", id, "events", len(batch), "why", err)
		case err != nil:
			return err
		}
		n.outbox = rest
	}
	n.outbox = nil
	n.mu.Lock()
	n.opener.kept()
	n.mu.Unlock()
	return nil
}

// save writes the position, so that a crash leaves this one or the last.
func (n *Incidents) save(position string) error {
	path := n.positionFile()
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(position + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	n.saved = position
	return nil
}

// explain explains one incident, if one has to be.
func (n *Incidents) explain(now time.Time) {
	if len(n.outbox) > 0 {
		return
	}
	n.mu.Lock()
	g := n.opener.next(now)
	if g != nil {
		g.burst.since = time.Time{}
	}
	n.mu.Unlock()
	if g == nil {
		return
	}
	kills := n.kills(g.id, now.Add(-lookBack))
	if len(kills) == 0 {
		return
	}
	report, samples := n.o.Explain(kills, now.Add(-lookBack), now)
	var before []incident.Event
	if n.o.Before != nil {
		before = n.o.Before(&kills[len(kills)-1], now.Add(-lookBack))
	}
	n.mu.Lock()
	n.outbox = append(n.opener.before(g, before), n.opener.explained(g, &report, samples, now)...)
	n.mu.Unlock()
	n.step(now)
}

// kills are those of an incident since a time that were told one by one, and the last one whenever that was.
func (n *Incidents) kills(id string, since time.Time) (kills []oom.Kill) {
	d, err := n.store.Details(id)
	if err != nil {
		n.o.Log.Warn("an incident is not explained", "incident", id, "why", err)
		return nil
	}
	for i := range d.Timeline {
		e := &d.Timeline[i]
		var k oom.Kill
		if e.Kind != incident.Killed || json.Unmarshal(e.Data, &k) != nil || k.ID == "" {
			continue
		}
		if len(kills) == 1 && kills[0].Time.Before(since) {
			kills = nil
		}
		kills = append(kills, k)
	}
	return kills
}

// change tells what changed of the subjects.
func (n *Incidents) change(now time.Time) {
	if len(n.outbox) > 0 || now.Sub(n.looked) < changesEvery {
		return
	}
	n.looked = now
	n.mu.Lock()
	going := len(n.opener.going)
	n.mu.Unlock()
	if going == 0 || n.o.Usage == nil {
		return
	}
	all := n.o.Usage()
	n.mu.Lock()
	n.outbox = n.opener.changes(all)
	n.mu.Unlock()
	n.step(now)
}

// learn keeps what people told elsewhere of incidents that have not ended here, until ctx ends.
func (n *Incidents) learn(ctx context.Context) {
	ticker := time.NewTicker(learnEvery)
	defer ticker.Stop()
	since := time.Time{} // as long as this agent was away, too
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			err := n.learnSince(ctx, since)
			if err == nil {
				since = now.Add(-learnAgain)
			} else if !failed && ctx.Err() == nil {
				n.o.Log.Warn("whether incidents were ended elsewhere is not known; further kills join them", "why", err)
			}
			failed = err != nil
		}
	}
}

// learnSince asks once, if any incident has not ended here.
func (n *Incidents) learnSince(ctx context.Context, since time.Time) error {
	if len(n.store.List(incident.Filter{State: incident.Going, Limit: 1})) == 0 {
		return nil
	}
	mine := func(id string) bool {
		in, ok := n.store.Incident(id)
		return ok && !in.State.Ended()
	}
	events, err := n.o.Elsewhere(ctx, since, mine)
	if err != nil {
		return err
	}
	for _, e := range events {
		if _, err := n.store.Append(e); err != nil {
			return err
		}
	}
	return nil
}

// List are the incidents that a filter chooses, the newest first.
func (n *Incidents) List(f incident.Filter) []incident.Incident { return n.store.List(f) }

// Details are one incident with its timeline. The error matches [files.ErrNotFound] where there is none.
func (n *Incidents) Details(id string) (incident.Details, error) { return n.store.Details(id) }

// Follow calls fn with each event as it is kept, without its data; see [files.Store.Follow].
func (n *Incidents) Follow(ctx context.Context, after string, fn func(cursor string, e incident.Event) error) error {
	return n.store.Follow(ctx, after, fn)
}

// Status is how many have not ended, what all take on disk, and why none can be kept at the moment; empty is that they can.
func (n *Incidents) Status() (going int, bytes int64, fault string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.store.List(incident.Filter{State: incident.Going})), n.store.Bytes(), n.fault
}

// Add keeps what somebody tells, and returns when it is on disk.
func (n *Incidents) Add(e incident.Event) (news int, err error) {
	if _, ok := n.store.Incident(e.Incident); !ok {
		return 0, files.ErrNotFound
	}
	if n.o.Send != nil {
		if err := n.o.Send(e); err != nil {
			return 0, err
		}
	}
	if news, err = n.store.Append(e); err != nil {
		return 0, err
	}
	return news, n.store.Sync()
}
