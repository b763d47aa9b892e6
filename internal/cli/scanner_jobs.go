package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/scanner"
)

const (
	// defaultJobs fit a few screens; maxJobs, with long references and messages, 20 MiB.
	defaultJobs = 100
	maxJobs     = 10_000
)

func newScannerJobs(a *app, f *serverFlags) *cobra.Command {
	return group(&cobra.Command{
		Use:   "jobs",
		Short: "List scans that were asked for",
	}, newScannerJobsList(a, f))
}

// jobsList is "stella scanner jobs list".
type jobsList struct {
	app    *app
	server *serverFlags
	format string
	status []string
	last   span
	image  string
	pool   string
	limit  int
}

func newScannerJobsList(a *app, f *serverFlags) *cobra.Command {
	c := &jobsList{app: a, server: f, format: "table", limit: defaultJobs}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first",
		Long: `List the scans that were asked for, newest first. A job is one scan of one image;
requests for the same image share it.

--last chooses jobs that were submitted, or ended, since then.`,
		Example: `  stella scanner jobs list --status failed --last 1h
  stella scanner jobs list --image debian -o wide
  stella scanner jobs list --status failed,timeout -o json | jq '.[].message'`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&c.status, "status", nil, "only jobs with one of these `statuses`: "+strings.Join(statusNames(), ", "))
	flags.Var(&c.last, "last", "only jobs of so much time, such as 30m, 24h or 7d")
	flags.StringVar(&c.image, "image", "", "only images whose reference has this `text` in it, or that have this digest")
	flags.StringVar(&c.pool, "pool", "", "only jobs of this `pool`")
	flags.IntVar(&c.limit, "limit", c.limit, fmt.Sprintf("at most so many `jobs`, 1 to %d", maxJobs))
	addFormat(cmd, &c.format, tableFormats)
	complete(cmd, "status", statusNames()...)
	completePools(cmd, "pool", a, f)
	return cmd
}

func statusNames() []string {
	names := make([]string, len(scanner.Statuses))
	for i, s := range scanner.Statuses {
		names[i] = string(s)
	}
	return names
}

func (c *jobsList) run(cmd *cobra.Command, _ []string) error {
	if err := checkFormat(cmd, c.format, tableFormats); err != nil {
		return err
	}
	if c.limit < 1 || c.limit > maxJobs {
		return usagef(cmd, "--limit %d: must be 1 to %d", c.limit, maxJobs)
	}
	filter := scanner.JobFilter{Pool: c.pool, Image: c.image}
	for _, s := range c.status {
		if !slices.Contains(statusNames(), s) {
			return usagef(cmd, "--status %s: choose %s%s", s, listText(statusNames()), didYouMean(s, statusNames()))
		}
		filter.Status = append(filter.Status, scanner.Status(s))
	}
	now := time.Now()
	if c.last > 0 {
		filter.Since = now.Add(-time.Duration(c.last))
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	jobs, more, err := allJobs(cmd.Context(), service, filter, c.limit)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		c.app.note("no such jobs")
	}
	if more {
		c.app.note("these are the newest %s; --limit shows more", countOf(int64(len(jobs)), "job"))
	}
	if len(jobs) == 0 && (c.format == "table" || c.format == "wide") {
		return nil
	}
	return c.app.show(c.format, list(jobs), c.app.table(c.format, jobRows(jobs, now, c.format == "wide")))
}

// allJobs reads pages until there are so many jobs, or no more. It says whether there are more.
func allJobs(ctx context.Context, service *client.Client, filter scanner.JobFilter, limit int) ([]scanner.Job, bool, error) {
	var jobs []scanner.Job
	for {
		filter.Limit = min(limit+1-len(jobs), scanner.MaxPage)
		page, err := service.Jobs(ctx, filter)
		if err != nil {
			return nil, false, err
		}
		jobs = append(jobs, page...)
		if len(jobs) > limit {
			return jobs[:limit], true, nil
		}
		if len(page) < filter.Limit {
			return jobs, false, nil
		}
		filter.Before = page[len(page)-1].ID
	}
}

// jobRows are jobs for people.
func jobRows(jobs []scanner.Job, now time.Time, wide bool) *rows {
	head := []string{"ID", "IMAGE", "STATUS", "REASON", "POOL", "ATTEMPTS", "AGE", "TOOK"}
	if wide {
		head = append(head, "SIZE", "LAYERS", "DIGEST", "REQUESTS", "MESSAGE")
	}
	r := newRows(1, head...)
	for _, j := range jobs {
		cells := []string{fmt.Sprint(j.ID), j.Image, statusText(&j), j.Reason, j.Pool, fmt.Sprint(j.Attempts), since(now, j.Submitted), tookText(j.Started, j.Ended, now)}
		if wide {
			cells = append(cells, sizeText(j.Size), fmt.Sprint(j.Layers), j.Digest[:min(len(j.Digest), shortDigest)], fmt.Sprint(j.Requests), j.Message)
		}
		r.add(cells...)
	}
	return r
}

// statusText is a job's status, and what of its result is missing.
func statusText(j *scanner.Job) string {
	if j.Result != nil && j.Result.Problems > 0 {
		return string(j.Status) + " (partial)"
	}
	return string(j.Status)
}

// tookText is how long something took, or has taken until now.
func tookText(started, ended, now time.Time) string {
	switch {
	case started.IsZero():
		return ""
	case ended.IsZero():
		return ageText(now.Sub(started))
	case ended.Before(started): // the clock was set back in between
		return "?"
	}
	return durationText(ended.Sub(started))
}
