package book

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"stella/internal/incident"
	"stella/internal/store"
)

var errNoRoom = fmt.Errorf("the incident's timeline is full (%d events, or %d MiB): close it", incident.MaxEvents, MaxBytes>>20)

// row is a row of the table incident_summaries that nobody else changes until the transaction ends.
type row struct {
	incident.Incident
	owner string
	floor int64
	rows  int64 // events that are there
	bytes int64
	fresh []incident.Event // that it does not have yet
}

// add adds events that were checked, each once.
func (b *Book) add(ctx context.Context, tx *store.Tx, by Teller, events []incident.Event) (receipt incident.Receipt, err error) {
	byIncident := map[string][]incident.Event{}
	var ids []string
	for _, e := range events {
		if byIncident[e.Incident] == nil {
			ids = append(ids, e.Incident)
		}
		byIncident[e.Incident] = append(byIncident[e.Incident], e)
	}
	slices.Sort(ids) // so that nobody locks them in another order
	var rows []*row
	for _, id := range ids {
		r, refused, err := find(ctx, tx, by, id, byIncident[id])
		if err != nil {
			return receipt, err
		}
		receipt.New += len(r.fresh)
		receipt.Refused = append(receipt.Refused, refused...)
		if len(r.fresh) > 0 {
			rows = append(rows, r)
		} else if r.rows == 0 { // nobody may see an incident without events
			if _, err := tx.Exec(ctx, `DELETE FROM incident_summaries WHERE id = $1`, id); err != nil {
				return receipt, err
			}
		}
	}
	if len(rows) == 0 {
		return receipt, nil
	}
	var number int64 // of the last event
	if _, err := tx.Get(ctx, `UPDATE incident_clock SET number = number + $1 RETURNING number`, []any{receipt.New}, &number); err != nil {
		return receipt, err
	}
	number -= int64(receipt.New)
	for _, r := range rows {
		if number, err = r.insert(ctx, tx, number); err != nil {
			return receipt, err
		}
		if err := r.keep(ctx, tx); err != nil {
			return receipt, err
		}
	}
	return receipt, nil
}

// find locks an incident, which it makes if it must, and finds out what of the events is new and may be added.
func find(ctx context.Context, tx *store.Tx, by Teller, id string, events []incident.Event) (*row, []incident.Refusal, error) {
	_, err := tx.Exec(ctx, `INSERT INTO incident_summaries (id, owner, source, state, namespace, name, workload, pod, container, updated, ended, floor, events, bytes, summary)
		VALUES ($1, $2, '', '', '', '', '', '', '', 0, 0, -1, 0, 0, '{}') ON CONFLICT (id) DO NOTHING`, id, clean(by.Name))
	if err != nil {
		return nil, nil, err
	}
	r := &row{}
	var summary string
	if _, err := tx.Get(ctx, `SELECT owner, floor, events, bytes, summary FROM incident_summaries WHERE id = $1 {lock}`, []any{id}, &r.owner, &r.floor, &r.rows, &r.bytes, &summary); err != nil {
		return nil, nil, err
	}
	if err := json.Unmarshal([]byte(summary), &r.Incident); err != nil {
		return nil, nil, err
	}
	known, err := knownOf(ctx, tx, id, events)
	if err != nil {
		return nil, nil, err
	}
	var refused []incident.Refusal
	for _, e := range events {
		if known[e.ID] || expendable(e.Kind) && micros(e.Time) <= r.floor {
			continue
		}
		known[e.ID] = true
		if err := by.foreign(r.owner, &e); err != nil {
			refused = append(refused, refusal(&e, err))
			continue
		}
		if by.own && e.Kind == incident.Opened {
			r.owner = by.Name
		}
		r.fresh = append(r.fresh, e)
	}
	more, err := r.checkRoom(ctx, tx, id)
	return r, append(refused, more...), err
}

// knownOf are the IDs of those events that an incident has.
func knownOf(ctx context.Context, tx *store.Tx, id string, events []incident.Event) (map[string]bool, error) {
	known := map[string]bool{}
	for some := range slices.Chunk(events, incident.MaxBatch) {
		args := []any{id}
		var names []string
		for _, e := range some {
			args = append(args, e.ID)
			names = append(names, fmt.Sprintf("$%d", len(args)))
		}
		err := tx.Each(ctx, `SELECT id FROM incident_events WHERE incident = $1 AND id IN (`+strings.Join(names, ", ")+`)`, args, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			known[id] = true
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return known, nil
}

// insert writes the new events down, with the numbers behind that one, and folds them.
func (r *row) insert(ctx context.Context, tx *store.Tx, number int64) (int64, error) {
	incident.Sort(r.fresh)
	before := r.Incident
	again, err := r.mustRefold(ctx, tx)
	if err != nil {
		return 0, err
	}
	for _, e := range r.fresh {
		number++
		head, err := headOf(&e)
		if err != nil {
			return 0, err
		}
		data := clean(string(e.Data))
		bytes := int64(len(head) + len(data))
		_, err = tx.Exec(ctx, `INSERT INTO incident_events (incident, id, number, at, kind, replaces, bytes, head, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			e.Incident, e.ID, number, micros(e.Time), string(e.Kind), replaces(&e), bytes, string(head), data)
		if err != nil {
			return 0, err
		}
		r.Incident = r.With(e)
		r.rows++
		r.bytes += bytes
	}
	gone, err := r.makeRoom(ctx, tx)
	if err != nil || !again && !gone {
		return number, err
	}
	return number, r.refold(ctx, tx, before)
}

// replaces is the ID of the kill that an event corrects.
func replaces(e *incident.Event) string {
	if e.Kind != incident.Killed || e.Replaces == e.ID {
		return ""
	}
	return e.Replaces
}

// mustRefold reports whether the new events are not simply newer than all others: one came late, or corrects another.
func (r *row) mustRefold(ctx context.Context, tx *store.Tx) (bool, error) {
	if r.rows > 0 && !r.fresh[0].Time.After(r.Updated) {
		return true, nil
	}
	args := []any{r.fresh[0].Incident}
	var names []string
	for _, e := range r.fresh {
		if replaces(&e) != "" {
			return true, nil
		}
		if e.Kind == incident.Killed && r.rows > 0 {
			args = append(args, e.ID)
			names = append(names, fmt.Sprintf("$%d", len(args)))
		}
	}
	if len(names) == 0 {
		return false, nil
	}
	var corrected int
	_, err := tx.Get(ctx, `SELECT count(*) FROM incident_events WHERE incident = $1 AND replaces <> '' AND replaces IN (`+strings.Join(names, ", ")+`)`, args, &corrected)
	return corrected > 0, err
}

// refold makes the summary anew of all events, because some came late. What was let go is in what the summary was before.
func (r *row) refold(ctx context.Context, tx *store.Tx, before incident.Incident) error {
	var events []incident.Event
	err := tx.Each(ctx, `SELECT head FROM incident_events WHERE incident = $1`, []any{r.ID}, func(rows *sql.Rows) error {
		var head string
		if err := rows.Scan(&head); err != nil {
			return err
		}
		var e incident.Event
		err := json.Unmarshal([]byte(head), &e)
		e.Text, e.Actor = "", "" // of which nothing follows
		events = append(events, e)
		return err
	})
	if err != nil {
		return err
	}
	in, ok := incident.Fold(events)
	if !ok {
		return errors.New("an incident has no events") // it has those that were just added
	}
	in.Peak = max(in.Peak, before.Peak)
	if !before.First.IsZero() && before.First.Before(in.First) {
		in.First = before.First
	}
	r.Incident = in
	return nil
}

// keep writes the summary.
func (r *row) keep(ctx context.Context, tx *store.Tx) error {
	summary, err := json.Marshal(r.Incident)
	if err != nil {
		return err
	}
	s := &r.Subject
	_, err = tx.Exec(ctx, `UPDATE incident_summaries SET owner = $2, source = $3, state = $4, namespace = $5, name = $6, workload = $7, pod = $8, container = $9,
			updated = $10, ended = $11, floor = $12, events = $13, bytes = $14, summary = $15 WHERE id = $1`,
		r.ID, clean(r.owner), string(r.Source), string(r.State), clean(s.Namespace), clean(s.Name), clean(s.Workload), clean(s.Pod), clean(s.Container),
		micros(r.Updated), micros(r.Ended), r.floor, r.rows, r.bytes, string(summary))
	return err
}

// clean makes a text that every database keeps, and that is JSON where it was.
func clean(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "?"), "?")
}
