package queue_test

import (
	"path/filepath"
	"testing"

	"stella/internal/testkit/postgres"
)

// A job with a result of 30 KB, from Submit to Finish. On SQLite each of the three waits for the disk.
func BenchmarkJob(b *testing.B) {
	for name, url := range map[string]func(b *testing.B) string{
		"sqlite":   func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "queue.db") },
		"postgres": func(b *testing.B) string { return postgres.Database(b) },
	} {
		b.Run(name, func(b *testing.B) {
			e := newEnv(b, url(b))
			q := e.instance("a")
			n := 0
			for b.Loop() {
				n++
				submit(b, q, submission(n))
				finish(b, q, success(claim(b, q, "default", "default-0"), inventory(n, 30_000)))
			}
		})
	}
}

// BenchmarkSteps times the three apart, with 10,000 jobs that wait.
func BenchmarkSteps(b *testing.B) {
	e := newEnv(b, "sqlite:"+filepath.Join(b.TempDir(), "queue.db"))
	q := e.instance("a")
	n := 0
	for range 10_000 {
		n++
		submit(b, q, submission(n))
	}
	b.Run("submit", func(b *testing.B) {
		for b.Loop() {
			n++
			submit(b, q, submission(n))
		}
	})
	b.Run("claim", func(b *testing.B) {
		for b.Loop() {
			claim(b, q, "default", "default-0")
		}
	})
	if _, err := q.Recover(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("claim+finish", func(b *testing.B) {
		for b.Loop() {
			c := claim(b, q, "default", "default-0")
			finish(b, q, success(c, inventory(int(c.Job.ID), 30_000)))
		}
	})
	b.Run("nothing to claim", func(b *testing.B) {
		for b.Loop() {
			noClaim(b, q, "large")
		}
	})
}
