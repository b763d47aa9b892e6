package cli

import (
	"time"

	"github.com/spf13/cobra"

	"stella/internal/scanner"
)

func newScannerQueue(a *app, f *serverFlags) *cobra.Command {
	return group(&cobra.Command{
		Use:   "queue",
		Short: "Look at what waits for workers",
	}, newScannerQueueStatus(a, f))
}

func newScannerQueueStatus(a *app, f *serverFlags) *cobra.Command {
	format := "table"
	formats := []string{"table", "json", "yaml"}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how many jobs wait and run in each pool, and for how long",
		Example: `  stella scanner queue status
  stella scanner queue status -o json | jq .oldestSeconds`,
		Args: noArgs,
	}
	addFormat(cmd, &format, formats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, formats); err != nil {
			return err
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		q, err := service.Queue(cmd.Context())
		if err != nil {
			return err
		}
		q.Pools = list(q.Pools)
		return a.show(format, q, a.table(format, queueRows(&q)))
	}
	return cmd
}

// queueRows are what waits, by pool and in all, for people.
func queueRows(q *scanner.QueueStatus) *rows {
	r := newRows(0, "POOL", "PENDING", "DELAYED", "RUNNING", "OLDEST")
	var delayed int64
	for _, p := range q.Pools {
		delayed += p.Delayed
		r.add(p.Pool, countText(p.Pending), countText(p.Delayed), countText(p.Running), oldestText(p.Pending, p.Oldest))
	}
	r.add("(all)", countText(q.Pending), countText(delayed), countText(q.Running), oldestText(q.Pending, q.Oldest))
	return r
}

func oldestText(pending int64, seconds float64) string {
	if pending == 0 {
		return ""
	}
	return ageText(secondsOf(seconds))
}

// secondsOf is a length of time that the API gives in seconds.
func secondsOf(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
