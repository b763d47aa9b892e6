package book

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"stella/internal/incident"
	"stella/internal/store"
)

const (
	// earlierID is the event that tells the kills which were let go together.
	earlierID = "earlier"
	// atOnce and bytesAtOnce are how much is let go at least, so that a storm does not make room for each of its kills.
	atOnce, bytesAtOnce = incident.MaxEvents / 16, MaxBytes / 16
)

// expendable reports whether an event of this kind may be let go: what follows from it is kept.
func expendable(k incident.Kind) bool { return k == incident.Killed || k == incident.Sampled }

// checkRoom refuses what does not fit, also when everything is let go that may be.
func (r *row) checkRoom(ctx context.Context, tx *store.Tx, id string) (refused []incident.Refusal, err error) {
	stay, bytes := int64(0), int64(0)
	for _, e := range r.fresh {
		bytes += int64(len(e.Data) + maxHead/4) // about
	}
	if r.rows+int64(len(r.fresh)) <= incident.MaxEvents && r.bytes+bytes <= MaxBytes {
		return nil, nil
	}
	if _, err := tx.Get(ctx, `SELECT count(*), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM incident_events WHERE incident = $1 AND (kind NOT IN ('killed', 'sampled') OR id = $2)`,
		[]any{id, earlierID}, &stay, &bytes); err != nil {
		return nil, err
	}
	var fit []incident.Event
	for _, e := range r.fresh {
		head, err := headOf(&e)
		if err != nil {
			return nil, err
		}
		if !expendable(e.Kind) {
			stay++
			bytes += int64(len(head) + len(e.Data))
		}
		// There is always room for a little more: what can be let go, and the end.
		if e.Kind != incident.Ended && (stay > incident.MaxEvents-atOnce || bytes > MaxBytes*3/4) {
			refused = append(refused, refusal(&e, errNoRoom))
			continue
		}
		fit = append(fit, e)
	}
	r.fresh = fit
	return refused, nil
}

// makeRoom lets kills and samples go where there are too many events, those first that others replace, and then the oldest. It reports whether it did.
func (r *row) makeRoom(ctx context.Context, tx *store.Tx) (bool, error) {
	if r.rows <= incident.MaxEvents && r.bytes <= MaxBytes {
		return false, nil
	}
	most, mostBytes := int64(incident.MaxEvents), int64(MaxBytes)
	if r.rows > most {
		most -= atOnce
	}
	if r.bytes > mostBytes {
		mostBytes -= bytesAtOnce
	}
	earlier, err := r.earlier(ctx, tx)
	if err != nil {
		return false, err
	}
	var gone []any
	err = tx.Each(ctx, `SELECT id, number, at, bytes, head, corrected FROM (SELECT id, number, at, bytes, head, CASE WHEN id IN
			(SELECT replaces FROM incident_events WHERE incident = $1 AND replaces <> '') THEN 1 ELSE 0 END AS corrected
			FROM incident_events WHERE incident = $1 AND kind IN ('killed', 'sampled') AND id <> $2) e ORDER BY corrected DESC, at, number`,
		[]any{r.ID, earlierID}, func(rows *sql.Rows) error {
			if r.rows <= most && r.bytes <= mostBytes {
				return nil
			}
			var id, head string
			var number, at, bytes, corrected int64
			if err := rows.Scan(&id, &number, &at, &bytes, &head, &corrected); err != nil {
				return err
			}
			var e incident.Event
			if err := json.Unmarshal([]byte(head), &e); err != nil {
				return err
			}
			if corrected == 0 {
				earlier.with(e, number)
				r.floor = max(r.floor, at)
			}
			gone = append(gone, id)
			r.rows--
			r.bytes -= bytes
			return nil
		})
	if err != nil {
		return false, err
	}
	for _, id := range gone {
		if _, err := tx.Exec(ctx, `DELETE FROM incident_events WHERE incident = $1 AND id = $2`, r.ID, id); err != nil {
			return false, err
		}
	}
	return true, r.keepEarlier(ctx, tx, earlier)
}

// together are the kills that were let go.
type together struct {
	incident.Event
	since  time.Time // the first of them
	number int64     // of the event
	bytes  int64     // that it takes until now
	there  bool
}

// earlierData is what the event says for programs.
type earlierData struct {
	Since time.Time `json:"since"`
}

// earlier is what is told together until now.
func (r *row) earlier(ctx context.Context, tx *store.Tx) (*together, error) {
	t := &together{Event: incident.Event{Incident: r.ID, ID: earlierID, Kind: incident.Killed, Actor: "stellad"}}
	var head, data string
	var err error
	t.there, err = tx.Get(ctx, `SELECT number, bytes, head, data FROM incident_events WHERE incident = $1 AND id = $2`, []any{r.ID, earlierID}, &t.number, &t.bytes, &head, &data)
	if err != nil || !t.there {
		return t, err
	}
	var before earlierData
	if err := json.Unmarshal([]byte(data), &before); err != nil {
		return nil, err
	}
	t.since = before.Since
	return t, json.Unmarshal([]byte(head), &t.Event)
}

// with adds an event to what is told together. Of samples nothing is told.
func (t *together) with(e incident.Event, number int64) {
	kills := e.Kills
	if kills == 0 && e.Replaces == "" {
		kills = 1
	}
	if e.Kind != incident.Killed || kills == 0 {
		return
	}
	if t.since.IsZero() || e.Time.Before(t.since) {
		t.since = e.Time
	}
	if e.Time.After(t.Time) {
		t.Time, t.Limit = e.Time, e.Limit
	}
	if t.number == 0 {
		t.number = number
	}
	t.Kills += kills
	t.Peak = max(t.Peak, e.Peak)
}

// keepEarlier writes down what is told together, if there is something.
func (r *row) keepEarlier(ctx context.Context, tx *store.Tx, t *together) error {
	if t.Kills == 0 {
		return nil
	}
	t.Text = fmt.Sprintf("%d kills since %s, which are told together to make room", t.Kills, t.since.UTC().Format(time.RFC3339))
	data, err := json.Marshal(earlierData{t.since})
	if err != nil {
		return err
	}
	head, err := headOf(&t.Event)
	if err != nil {
		return err
	}
	bytes := int64(len(head) + len(data))
	r.bytes += bytes - t.bytes
	if !t.there {
		r.rows++
	}
	_, err = tx.Exec(ctx, `INSERT INTO incident_events (incident, id, number, at, kind, replaces, bytes, head, data) VALUES ($1, $2, $3, $4, $5, '', $6, $7, $8)
		ON CONFLICT (incident, id) DO UPDATE SET at = excluded.at, bytes = excluded.bytes, head = excluded.head, data = excluded.data`,
		r.ID, earlierID, t.number, micros(t.Time), string(incident.Killed), bytes, string(head), string(data))
	return err
}
