package queue_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"stella/internal/scanner/queue"
	"stella/internal/store"
)

// What is asked for often must not read the whole table: with 10,000 jobs and more
// that would be ms for each claim, while others wait.
func TestQueriesUseIndexes(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		q := e.instance("a")
		submit(t, q, submission(0))
		e.fill(40_000)
		for _, c := range []struct {
			text    string
			args    []any
			indexes []string
		}{
			{queue.ClaimJob, []any{"default"}, []string{"jobs_ready", "jobs_delayed"}},
			{queue.Waiting, nil, []string{"jobs_ready", "jobs_delayed"}},
			{`SELECT id FROM jobs WHERE ended > 0 AND ended < $1 ORDER BY ended LIMIT 25 {skip}`, []any{1}, []string{"jobs_ended"}},
			{`SELECT id FROM jobs WHERE subject = $1 AND status IN ('failed', 'timeout', 'cancelled') ORDER BY id DESC LIMIT 1`, []any{"x"}, []string{"jobs_subject"}},
		} {
			plan := e.explain(c.text, c.args...)
			for _, index := range c.indexes {
				if !strings.Contains(plan, index) {
					t.Errorf("does not use %s:\n%s\n%s", index, c.text, plan)
				}
			}
			for _, line := range strings.Split(plan, "\n") {
				if strings.Contains(line, "Seq Scan on jobs") || strings.Contains(line, "SCAN jobs") && !strings.Contains(line, "USING") || strings.Contains(line, "TEMP B-TREE FOR ORDER BY") {
					t.Errorf("reads the whole table:\n%s\n%s", c.text, plan)
				}
			}
		}
		start := time.Now()
		const claims = 50
		for range claims {
			claim(t, q, "default", "w")
		}
		t.Logf("%v for each claim", time.Since(start)/claims)
	})
}

// explain says how the database runs a statement.
func (e *env) explain(text string, args ...any) string {
	e.Helper()
	explain, columns := "EXPLAIN ", 1
	if e.db.Dialect() == "sqlite" {
		explain, columns = "EXPLAIN QUERY PLAN ", 4
	}
	var lines []string
	err := e.db.Write(e.Context(), func(tx *store.Tx) error {
		lines = nil
		return tx.Each(e.Context(), explain+text, args, func(rows *sql.Rows) error {
			values := make([]sql.NullString, columns)
			dest := make([]any, columns)
			for i := range values {
				dest[i] = &values[i]
			}
			err := rows.Scan(dest...)
			lines = append(lines, values[columns-1].String)
			return err
		})
	})
	if err != nil {
		e.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// fill adds copies of the first job, a quarter each ready, delayed, and two that have
// ended, and counts what PostgreSQL plans by.
func (e *env) fill(n int) {
	e.Helper()
	e.exec(fmt.Sprintf(`INSERT INTO jobs (image, platform, digest, size, layers, subject, pool, timeout, attach, local, shared, status,
			reason, message, attempts, forgiven, requests, cancelled, due, queued, submitted, started, ended, inventory, bytes, components, problems, attached)
		WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT image, platform, digest, size, layers, subject || i, pool, timeout, attach, local, NULL,
			CASE i / %d WHEN 0 THEN 'succeeded' WHEN 1 THEN 'failed' ELSE 'pending' END, reason, message, attempts, forgiven, requests, cancelled,
			CASE i / %[2]d WHEN 3 THEN queued + 3600000000 ELSE 0 END, queued, submitted, started, CASE WHEN i / %[2]d < 2 THEN queued ELSE 0 END,
			inventory, bytes, components, problems, attached
		FROM jobs JOIN n ON jobs.id = 1`, n, n/4))
	e.exec(`ANALYZE`)
}
