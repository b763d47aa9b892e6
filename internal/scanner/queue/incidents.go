package queue

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/incident"
	"stella/internal/scanner"
	"stella/internal/store"
)

// Incidents keep what is told of incidents, in the transactions of this package.
type Incidents interface {
	// Append adds events, each once by its ID.
	Append(ctx context.Context, tx *store.Tx, events ...incident.Event) error
	// Incident returns what the events of one make of it.
	Incident(ctx context.Context, tx *store.Tx, id string) (in incident.Incident, found bool, err error)
	// Kills returns kills of a source after a moment, and of one incident alone where id is not empty, the newest first.
	Kills(ctx context.Context, tx *store.Tx, source incident.Source, id string, since time.Time, limit int) ([]incident.Event, error)
	// CountKills is how many there are.
	CountKills(ctx context.Context, tx *store.Tx, source incident.Source, since time.Time) (int64, error)
}

const (
	// maxName and maxTold bound what events take of an image's reference and of a message, in bytes.
	maxName = 1 << 10
	maxTold = 2 << 10
)

// killed is an attempt that was OOM-killed: what is known of it, and what is told of its incident.
type killed struct {
	scanner.WorkerKill
	events []incident.Event
}

// kill finds the incident of an attempt that was OOM-killed, makes it where there is none, and tells the kill by an event of the job. It is nil where there was no kill.
func (q *Queue) kill(ctx context.Context, tx *store.Tx, r *row, a scanner.Attempt, d scanner.Decision) (*killed, error) {
	if d.Action == "" {
		return nil, nil
	}
	id, going, err := q.incidentOf(ctx, tx, r.ID)
	if err != nil {
		return nil, err
	}
	k := &killed{WorkerKill: scanner.WorkerKill{
		ID: id, At: a.Ended, Job: r.ID, Number: a.Number, Image: r.Image, Digest: r.Digest,
		Pool: a.Pool, Worker: a.Worker, Limit: a.Limit, End: a.End, Action: d.Action,
	}}
	if !going {
		k.ID = newID(r.ID, a.Number, id != "")
		k.events = append(k.events, opened(k.WorkerKill, q.actor(), q.instance.Host))
	}
	k.events = append(k.events, told(k.WorkerKill, q.actor())...)
	if _, err := tx.Exec(ctx, `UPDATE attempts SET incident = $3 WHERE job = $1 AND number = $2`, r.ID, a.Number, k.ID); err != nil {
		return nil, err
	}
	return k, event(ctx, tx, r.ID, scanner.StatusRunning, scanner.EventOOM, a.Number, story(k.WorkerKill)+"; "+d.Action)
}

// tell appends what is told of a kill, if there was one.
func (q *Queue) tell(ctx context.Context, tx *store.Tx, k *killed) error {
	if k == nil {
		return nil
	}
	return q.incidents.Append(ctx, tx, k.events...)
}

// newID is of the incident of a job: its first, or another one, which begins with an attempt.
func newID(job int64, attempt int, another bool) string {
	if another {
		return fmt.Sprintf("job-%d-%d", job, attempt)
	}
	return fmt.Sprintf("job-%d", job)
}

// incidentOf is the newest incident of a job, "" for none, and whether it has not ended.
func (q *Queue) incidentOf(ctx context.Context, tx *store.Tx, job int64) (id string, going bool, err error) {
	found, err := tx.Get(ctx, `SELECT incident FROM attempts WHERE job = $1 AND incident <> '' ORDER BY number DESC LIMIT 1`, []any{job}, &id)
	if err != nil || !found {
		return "", false, err
	}
	in, found, err := q.incidents.Incident(ctx, tx, id)
	return id, found && !in.State.Ended(), err
}

// actor is this instance, where it tells something.
func (q *Queue) actor() string { return "stellad " + q.instance.Name }

// opened is the event that opens the incident of a kill.
func opened(k scanner.WorkerKill, actor, node string) incident.Event {
	image := clip(k.Image, maxName)
	return incident.Event{
		Incident: k.ID, ID: "opened", Time: k.At, Kind: incident.Opened, Actor: actor, Source: incident.SourceWorker,
		Text:    fmt.Sprintf("a worker was killed for want of memory while it scanned %s", image),
		Subject: &incident.Subject{Name: fmt.Sprintf("%s (job %d)", image, k.Job), Image: clip(k.Image, incident.MaxName), Node: node},
		Limit:   limitOf(k),
	}
}

// told is the event of a kill, and that of what was done about it, where the job goes on.
func told(k scanner.WorkerKill, actor string) []incident.Event {
	events := []incident.Event{{
		Incident: k.ID, ID: fmt.Sprintf("attempt-%d", k.Number), Time: k.At, Kind: incident.Killed, Actor: actor,
		Text: clip(story(k), maxTold), Kills: max(k.Kills, 1), Peak: k.Peak, Limit: limitOf(k), Data: evidence(k),
	}}
	if strings.HasPrefix(k.Action, scanner.ActionRerouted) {
		events = append(events, incident.Event{
			Incident: k.ID, ID: fmt.Sprintf("attempt-%d-rerouted", k.Number), Time: k.At, Kind: incident.Changed, Actor: actor, Text: clip(k.Action, maxTold),
		})
	}
	return events
}

func limitOf(k scanner.WorkerKill) *incident.Limit {
	return &incident.Limit{Scope: "cgroup", Bytes: k.Limit}
}

// story says a kill in a sentence.
func story(k scanner.WorkerKill) string {
	text := fmt.Sprintf("attempt %d was killed for want of memory in pool %s: limit %s, peak %s", k.Number, k.Pool, bytesize.Text(k.Limit), bytesize.Text(k.Peak))
	if k.Progress.Path != "" {
		text += fmt.Sprintf(", reading %s of layer %d", k.Progress.Path, k.Progress.Layer)
	}
	return text
}

// evidence is all that is known of a kill, with long texts cut where else it would not fit.
func evidence(k scanner.WorkerKill) json.RawMessage {
	data, err := json.Marshal(k)
	if err == nil && len(data) > incident.MaxData {
		k.Message, k.Progress.Path = clip(k.Message, maxName), clip(k.Progress.Path, maxName)
		data, err = json.Marshal(k)
	}
	if err != nil {
		return nil // which only numbers that are none could do
	}
	return data
}

// settle tells the incident of a job that is final what became of it.
func (q *Queue) settle(ctx context.Context, tx *store.Tx, r *row, d scanner.Decision, attempt int) error {
	id, going, err := q.incidentOf(ctx, tx, r.ID)
	if err != nil || !going {
		return err
	}
	e := incident.Event{Incident: id, Time: fromMicros(r.ended), Actor: q.actor()}
	switch {
	case r.Status == scanner.StatusSucceeded:
		var limit int64 // in which it held
		if _, err := tx.Get(ctx, `SELECT memory_limit FROM attempts WHERE job = $1 AND number = $2`, []any{r.ID, attempt}, &limit); err != nil {
			return err
		}
		e.Kind, e.Limit = incident.Verified, &incident.Limit{Scope: "cgroup", Bytes: limit}
		e.Text = fmt.Sprintf("attempt %d succeeded in pool %s", attempt, r.Pool)
	case r.Status == scanner.StatusCancelled:
		e.Kind, e.Actor, e.Text = incident.Ended, clip(cmp.Or(r.cancelled, e.Actor), maxName), "the job was cancelled"
	case d.Quarantine:
		e.Kind, e.Text = incident.Failed, cmp.Or(d.Action, "quarantined")
	default:
		e.Kind, e.Text = incident.Noted, clip(fmt.Sprintf("the job is %s before it was told whether it fits: %s", r.Status, d.Message), maxTold)
	}
	e.ID = fmt.Sprintf("attempt-%d-%s", r.Attempts, e.Kind)
	return q.incidents.Append(ctx, tx, e)
}

// again tells the incident of a job that somebody asks to try again.
func (q *Queue) again(ctx context.Context, tx *store.Tx, r *row, by string) error {
	id, going, err := q.incidentOf(ctx, tx, r.ID)
	if err != nil || !going {
		return err
	}
	return q.incidents.Append(ctx, tx, incident.Event{
		Incident: id, ID: fmt.Sprintf("attempt-%d-again", r.Attempts), Time: fromMicros(r.queued), Kind: incident.Changed, Actor: clip(by, maxName),
		Text: fmt.Sprintf("out of quarantine; waits for pool %s", r.Pool),
	})
}

// clip cuts a text to so many bytes.
func clip(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "")
}

// Incidents returns the kills of workers after since, newest first, at most limit and [scanner.MaxPage].
func (q *Queue) Incidents(ctx context.Context, since time.Time, limit int) (all []scanner.WorkerKill, err error) {
	err = q.read(ctx, func(tx *store.Tx) (err error) {
		all, err = q.kills(ctx, tx, "", since, bounded(limit))
		return err
	})
	return all, err
}

// kills reads the evidence of kills, of one incident where id is not empty.
func (q *Queue) kills(ctx context.Context, tx *store.Tx, id string, since time.Time, limit int) ([]scanner.WorkerKill, error) {
	events, err := q.incidents.Kills(ctx, tx, incident.SourceWorker, id, since, limit)
	var all []scanner.WorkerKill
	for _, e := range events {
		var k scanner.WorkerKill
		if json.Unmarshal(e.Data, &k) != nil || k.Number == 0 {
			continue // kills that are told together, because there were too many
		}
		k.At = e.Time // which counts for incidents
		all = append(all, k)
	}
	return all, err
}

// killsOf are the kills of a job, in ascending order.
func (q *Queue) killsOf(ctx context.Context, tx *store.Tx, job int64) (all []scanner.WorkerKill, err error) {
	var ids []string
	err = tx.Each(ctx, `SELECT DISTINCT incident FROM attempts WHERE job = $1 AND incident <> ''`, []any{job}, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	for _, id := range ids {
		some, more := q.kills(ctx, tx, id, time.Time{}, scanner.MaxPage)
		all, err = append(all, some...), errors.Join(err, more)
	}
	slices.SortFunc(all, func(a, b scanner.WorkerKill) int { return cmp.Compare(a.Number, b.Number) })
	return all[max(0, len(all)-scanner.MaxPage):], err
}
