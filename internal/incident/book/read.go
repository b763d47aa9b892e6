package book

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"stella/internal/incident"
	"stella/internal/store"
)

const (
	// followEvery is how often who follows asks for what is new.
	followEvery = 500 * time.Millisecond
	// followPage is how many events are read together.
	followPage = 64
)

// List returns the incidents that a filter chooses, the one with the newest event first. The error matches [ErrTooLarge] where they are more than can be answered.
func (b *Book) List(ctx context.Context, f incident.Filter) ([]incident.Incident, error) {
	text, args := listing(f)
	var all []incident.Incident
	err := b.db.Read(ctx, func(tx *store.Tx) error {
		all = nil
		bytes := 0
		return tx.Each(ctx, text, args, func(rows *sql.Rows) error {
			var summary string
			if err := rows.Scan(&summary); err != nil {
				return err
			}
			if bytes += len(summary); bytes > maxSummaries {
				return fmt.Errorf("%w: the newest %d incidents have more than %d MiB; ask for fewer", ErrTooLarge, len(all)+1, maxSummaries>>20)
			}
			var in incident.Incident
			err := json.Unmarshal([]byte(summary), &in)
			all = append(all, in)
			return err
		})
	})
	return all, err
}

// listing is the query for a filter.
func listing(f incident.Filter) (text string, args []any) {
	conditions := []string{"true"}
	add := func(condition string, value any) {
		args = append(args, value)
		conditions = append(conditions, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(args))))
	}
	if !f.Since.IsZero() {
		add("updated >= ?", micros(f.Since))
	}
	switch f.State {
	case "":
	case incident.Going:
		conditions = append(conditions, "ended = 0")
	case incident.AllEnded:
		conditions = append(conditions, "ended > 0")
	default:
		add("state = ?", clean(f.State))
	}
	if f.Source != "" {
		add("source = ?", clean(string(f.Source)))
	}
	if f.Namespace != "" {
		add("namespace = ?", clean(f.Namespace))
	}
	if f.Name != "" {
		add("(name = ? OR workload = ? OR pod = ? OR container = ?)", clean(f.Name))
	}
	limit := f.Limit
	if limit <= 0 || limit > incident.MaxList {
		limit = incident.MaxList
	}
	return fmt.Sprintf(`SELECT summary FROM incident_summaries WHERE %s ORDER BY updated DESC, id LIMIT %d`, strings.Join(conditions, " AND "), limit), args
}

// Get returns an incident with its timeline, or [ErrNotFound].
func (b *Book) Get(ctx context.Context, id string) (d incident.Details, err error) {
	err = b.db.Read(ctx, func(tx *store.Tx) error {
		d = incident.Details{}
		in, found, err := b.Incident(ctx, tx, id)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w as %.80q, or it ended so long ago that it was removed", ErrNotFound, id)
		}
		d.Incident = in
		all, err := events(ctx, tx, `SELECT head, data FROM incident_events WHERE incident = $1`, id)
		d.Timeline = incident.Timeline(all)
		return err
	})
	return d, err
}

// Incident returns an incident without its timeline, in a transaction.
func (b *Book) Incident(ctx context.Context, tx *store.Tx, id string) (in incident.Incident, found bool, err error) {
	var summary string
	found, err = tx.Get(ctx, `SELECT summary FROM incident_summaries WHERE id = $1`, []any{clean(id)}, &summary)
	if err == nil && found {
		err = json.Unmarshal([]byte(summary), &in)
	}
	return in, found, err
}

// killsOf are the kills of a source after a moment.
const killsOf = ` FROM incident_events e JOIN incident_summaries s ON s.id = e.incident WHERE e.kind = 'killed' AND s.source = $1 AND e.at > $2`

// Kills returns the kills of a source after a moment, and of one incident alone where that is not empty, the newest first.
func (b *Book) Kills(ctx context.Context, tx *store.Tx, source incident.Source, id string, since time.Time, limit int) ([]incident.Event, error) {
	text, args := `SELECT e.head, e.data`+killsOf, []any{string(source), micros(since)}
	if id != "" {
		text, args = text+` AND e.incident = $3`, append(args, id)
	}
	return events(ctx, tx, fmt.Sprintf(`%s ORDER BY e.at DESC, e.number DESC LIMIT %d`, text, limit), args...)
}

// CountKills is how many events tell of kills of a source after a moment.
func (b *Book) CountKills(ctx context.Context, tx *store.Tx, source incident.Source, since time.Time) (n int64, err error) {
	_, err = tx.Get(ctx, `SELECT count(*)`+killsOf, []any{string(source), micros(since)}, &n)
	return n, err
}

// events reads events of which a query has the heads and the data.
func events(ctx context.Context, tx *store.Tx, text string, args ...any) ([]incident.Event, error) {
	var all []incident.Event
	err := tx.Each(ctx, text, args, func(rows *sql.Rows) error {
		var head, data string
		if err := rows.Scan(&head, &data); err != nil {
			return err
		}
		e, err := event(head, data)
		all = append(all, e)
		return err
	})
	return all, err
}

func event(head, data string) (e incident.Event, err error) {
	err = json.Unmarshal([]byte(head), &e)
	if data != "" {
		e.Data = json.RawMessage(data)
	}
	return e, err
}

// Last is the number of the newest event of all; 0 is none.
func (b *Book) Last(ctx context.Context) (number int64, err error) {
	err = b.db.Read(ctx, func(tx *store.Tx) error {
		_, err := tx.Get(ctx, `SELECT number FROM incident_clock`, nil, &number)
		return err
	})
	return number, err
}

// Follow calls fn with each event of all incidents that has a higher number, without its data, in the order in which they were added, until ctx ends or fn
// returns an error, which it returns. Events of incidents that were removed meanwhile are not told.
func (b *Book) Follow(ctx context.Context, after int64, fn func(number int64, e incident.Event) error) error {
	ticks := time.NewTicker(followEvery)
	defer ticks.Stop()
	for {
		numbers, page, err := b.after(ctx, after)
		if err != nil {
			return err
		}
		for i, e := range page {
			if err := fn(numbers[i], e); err != nil {
				return err
			}
			after = numbers[i]
		}
		if len(page) == followPage {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
		}
	}
}

// after reads the next events behind a number.
func (b *Book) after(ctx context.Context, number int64) (numbers []int64, page []incident.Event, err error) {
	err = b.db.Read(ctx, func(tx *store.Tx) error {
		numbers, page = nil, nil
		return tx.Each(ctx, fmt.Sprintf(`SELECT number, head FROM incident_events WHERE number > $1 ORDER BY number LIMIT %d`, followPage), []any{number}, func(rows *sql.Rows) error {
			var n int64
			var head string
			if err := rows.Scan(&n, &head); err != nil {
				return err
			}
			e, err := event(head, "")
			numbers, page = append(numbers, n), append(page, e)
			return err
		})
	})
	return numbers, page, err
}
