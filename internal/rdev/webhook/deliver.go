package webhook

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"stella/internal/store"
)

const (
	// firstPause is before the second try of a delivery; it is four times as long each time, up to maxPause.
	firstPause = 5 * time.Second
	maxPause   = time.Hour
	// openAfter is how many failures one after the other open a host's circuit; then nothing is sent there for
	// firstOpen, and twice as long each time that the next one fails, up to maxOpen.
	openAfter = 5
	firstOpen = 30 * time.Second
	maxOpen   = 15 * time.Minute
)

// delivery is a row of the table webhook_deliveries.
type delivery struct {
	id              int64
	url, host, body string
	created         int64
	tries           int
}

// hosts are those that have something due, and whose circuit is not open; who has waited longest is first.
func (s *Sender) hosts(ctx context.Context) ([]string, error) {
	var all []string
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		all = nil
		return tx.Each(ctx, `SELECT host FROM webhook_deliveries WHERE due <= $1
			AND host NOT IN (SELECT host FROM webhook_hosts WHERE closed > $1) GROUP BY host ORDER BY min(due) LIMIT $2`,
			[]any{time.Now().UnixMicro(), maxHosts}, func(rows *sql.Rows) error {
				var host string
				err := rows.Scan(&host)
				all = append(all, host)
				return err
			})
	})
	return all, err
}

// oldest is what may be sent to a host now and has waited longest. The host must be busy, so that nobody else sends it.
func (s *Sender) oldest(ctx context.Context, host string) (d delivery, found bool, err error) {
	err = s.db.Read(ctx, func(tx *store.Tx) error {
		found, err = tx.Get(ctx, `SELECT id, url, host, body, created, tries FROM webhook_deliveries WHERE host = $1 AND due <= $2
			AND NOT EXISTS (SELECT 1 FROM webhook_hosts WHERE host = $1 AND closed > $2) ORDER BY due, id LIMIT 1`,
			[]any{host, time.Now().UnixMicro()}, &d.id, &d.url, &d.host, &d.body, &d.created, &d.tries)
		return err
	})
	return d, found, err
}

// deliver tries a delivery, and writes down what became of it.
func (s *Sender) deliver(ctx context.Context, d delivery) error {
	got, err := s.post(ctx, d)
	if ctx.Err() != nil {
		return nil // the service stops: it counts as not tried
	}
	now := time.Now()
	log := s.log.With("delivery", d.id, "host", d.host, "try", d.tries+1)
	// Also when the service stops just now, so that a message is not sent twice for that.
	ctx = context.WithoutCancel(ctx)
	switch {
	case err == nil && got.status >= 200 && got.status < 300:
		log.Info("webhook delivered", "status", got.status)
		return s.settle(ctx, d, Delivered)
	case err == nil && got.status == http.StatusGone:
		log.Warn("webhook given up: its receiver is gone", "status", got.status)
		return s.settle(ctx, d, GivenUp)
	case err == nil:
		err = fmt.Errorf("it was answered by %d %s", got.status, http.StatusText(got.status))
	}
	if now.Sub(time.UnixMicro(d.created)) > maxAge {
		log.Error("webhook given up: it was tried for long enough", "error", err)
		return s.settle(ctx, d, GivenUp)
	}
	wait := max(pause(d.tries), got.after)
	log.Warn("webhook not delivered; trying again", "error", err, "in", wait)
	return s.fail(ctx, d, now, wait)
}

// settle removes a delivery. A host that has answered as it should is trusted again.
func (s *Sender) settle(ctx context.Context, d delivery, r Result) error {
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM webhook_deliveries WHERE id = $1`, d.id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM webhook_hosts WHERE host = $1 AND ($2 = 1 OR NOT EXISTS (SELECT 1 FROM webhook_deliveries WHERE host = $1))`,
			d.host, toInt(r == Delivered))
		return err
	})
	if err == nil {
		s.o.Done(r)
	}
	return err
}

// fail lets a delivery wait, and opens its host's circuit if this was one failure too many.
func (s *Sender) fail(ctx context.Context, d delivery, now time.Time, wait time.Duration) error {
	opened := false
	err := s.db.Write(ctx, func(tx *store.Tx) error {
		opened = false
		_, err := tx.Exec(ctx, `UPDATE webhook_deliveries SET tries = tries + 1, due = $2 WHERE id = $1`, d.id, now.Add(wait).UnixMicro())
		if err != nil {
			return err
		}
		var failures int
		_, err = tx.Get(ctx, `INSERT INTO webhook_hosts (host, failures, closed) VALUES ($1, 1, 0)
			ON CONFLICT (host) DO UPDATE SET failures = webhook_hosts.failures + 1 RETURNING failures`, []any{d.host}, &failures)
		if err != nil || failures < openAfter {
			return err
		}
		opened = true
		_, err = tx.Exec(ctx, `UPDATE webhook_hosts SET closed = $2 WHERE host = $1`, d.host, now.Add(open(failures)).UnixMicro())
		return err
	})
	if err == nil {
		s.o.Done(Failed)
		if opened {
			s.log.Warn("a host of webhooks keeps failing: nothing is sent there for a while", "host", d.host)
		}
	}
	return err
}

// pause is before the next try, after so many that failed before this one.
func pause(tries int) time.Duration { return jitter(grow(firstPause, 4, tries, maxPause)) }

// open is for how long a circuit is open after so many failures.
func open(failures int) time.Duration { return jitter(grow(firstOpen, 2, failures-openAfter, maxOpen)) }

func grow(d time.Duration, factor, times int, most time.Duration) time.Duration {
	for ; times > 0 && d < most; times-- {
		d *= time.Duration(factor)
	}
	return min(d, most)
}

// jitter makes a pause up to a fifth longer or shorter, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5)
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
