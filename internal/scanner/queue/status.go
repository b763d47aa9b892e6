package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/incident"
	"stella/internal/scanner"
	"stella/internal/store"
)

// waiting is by the two indexes of pending jobs, without a look at the jobs.
const waiting = `
	SELECT pool, count(*), 0, {now} - min(queued), 0 FROM jobs WHERE status = 'pending' AND due = 0 GROUP BY pool
	UNION ALL
	SELECT pool, count(*), count(*), {now} - min(queued), 0 FROM jobs WHERE status = 'pending' AND due > 0 GROUP BY pool
	UNION ALL
	SELECT pool, 0, 0, 0, count(*) FROM attempts WHERE outcome = '' GROUP BY pool`

// QueueStatus is what waits and runs, by pool, in the order of their names; pools with nothing are there too.
func (q *Queue) QueueStatus(ctx context.Context) (s scanner.QueueStatus, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		s = scanner.QueueStatus{}
		all, err := pools(ctx, tx)
		if err != nil {
			return err
		}
		byName := map[string]scanner.QueuePool{}
		for _, p := range all {
			byName[p.Name] = scanner.QueuePool{Pool: p.Name}
		}
		err = tx.Each(ctx, waiting, nil, func(rows *sql.Rows) error {
			var part scanner.QueuePool
			var age int64
			if err := rows.Scan(&part.Pool, &part.Pending, &part.Delayed, &age, &part.Running); err != nil {
				return err
			}
			sum := byName[part.Pool]
			sum.Pool = part.Pool
			sum.Pending += part.Pending
			sum.Delayed += part.Delayed
			sum.Running += part.Running
			sum.Oldest = max(sum.Oldest, float64(age)/1e6)
			byName[part.Pool] = sum
			s.Pending += part.Pending
			s.Running += part.Running
			s.Oldest = max(s.Oldest, sum.Oldest)
			return nil
		})
		for _, p := range byName {
			s.Pools = append(s.Pools, p)
		}
		slices.SortFunc(s.Pools, func(a, b scanner.QueuePool) int { return strings.Compare(a.Pool, b.Pool) })
		return err
	})
	return s, err
}

// Stats are totals: jobs that wait, run, or ended after since, and attempts and incidents after it; results
// are all that are kept.
func (q *Queue) Stats(ctx context.Context, since time.Time) (scanner.Stats, error) {
	s := scanner.Stats{Since: since, Jobs: map[scanner.Status]int64{}, Attempts: map[scanner.Outcome]int64{}}
	err := q.read(ctx, func(tx *store.Tx) error {
		clear(s.Jobs)
		clear(s.Attempts)
		err := tx.Each(ctx, `SELECT status, count(*) FROM jobs WHERE ended > $1 AND ended > 0 GROUP BY status
			UNION ALL SELECT status, count(*) FROM jobs WHERE status = 'pending' AND due = 0 GROUP BY status
			UNION ALL SELECT status, count(*) FROM jobs WHERE status = 'pending' AND due > 0 GROUP BY status
			UNION ALL SELECT 'running', count(*) FROM attempts WHERE outcome = ''`, []any{toMicros(since)}, func(rows *sql.Rows) error {
			var status scanner.Status
			var n int64
			err := rows.Scan(&status, &n)
			s.Jobs[status] += n
			return err
		})
		if err != nil {
			return err
		}
		if err := attemptStats(ctx, tx, &s); err != nil {
			return err
		}
		if s.Incidents, err = q.incidents.CountKills(ctx, tx, incident.SourceWorker, since); err != nil {
			return err
		}
		for _, c := range []struct {
			text string
			args []any
			dest []any
		}{
			{`SELECT count(*) FROM quarantine`, nil, []any{&s.Quarantined}},
			{`SELECT count(*) FROM results`, nil, []any{&s.Results}},
			{`SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM blobs`, nil, []any{&s.ResultBytes}},
		} {
			if _, err := tx.Get(ctx, c.text, c.args, c.dest...); err != nil {
				return err
			}
		}
		return nil
	})
	return s, err
}

func attemptStats(ctx context.Context, tx *store.Tx, s *scanner.Stats) error {
	text := `SELECT outcome, count(*), CAST(sum(ended - started) AS BIGINT), max(ended - started), max(peak)
		FROM attempts WHERE ended > $1 AND ended > 0 GROUP BY outcome`
	return tx.Each(ctx, text, []any{toMicros(s.Since)}, func(rows *sql.Rows) error {
		var outcome scanner.Outcome
		var n, sum, longest, peak int64
		if err := rows.Scan(&outcome, &n, &sum, &longest, &peak); err != nil {
			return err
		}
		s.Attempts[outcome] = n
		s.MaxPeak = max(s.MaxPeak, peak)
		if outcome == scanner.OutcomeSucceeded {
			s.MeanSeconds = float64(sum) / float64(n) / 1e6
			s.MaxSeconds = float64(longest) / 1e6
		}
		return nil
	})
}

// Instances returns the instances that the database knows, by name, and the workers that
// each of those had when it was last heard of. One that was not heard of for
// expiry is not alive, and its workers are not among them.
func (q *Queue) Instances(ctx context.Context, expiry time.Duration) (all []scanner.Instance, workers []scanner.Worker, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		all, workers = nil, nil
		text := fmt.Sprintf(`SELECT name, host, version, started, seen, workers, {now} FROM instances ORDER BY name LIMIT %d`, scanner.MaxPage)
		return tx.Each(ctx, text, nil, func(rows *sql.Rows) error {
			var i scanner.Instance
			var started, seen, now int64
			var snapshot string
			if err := rows.Scan(&i.Name, &i.Host, &i.Version, &started, &seen, &snapshot, &now); err != nil {
				return err
			}
			i.Started, i.Seen = fromMicros(started), fromMicros(seen)
			i.Alive = max(now-seen, seen-now) <= expiry.Microseconds() // in the future: the clock was set back since
			all = append(all, i)
			if !i.Alive {
				return nil
			}
			var some []scanner.Worker
			err := json.Unmarshal([]byte(snapshot), &some)
			workers = append(workers, some...)
			return err
		})
	})
	return all, workers, err
}
