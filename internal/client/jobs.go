package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"stella/internal/scanner"
)

// Submit asks for a scan and returns its job, which may be one that was there before.
func (c *Client) Submit(ctx context.Context, r scanner.Request) (scanner.Job, error) {
	var job scanner.Job
	err := c.call(ctx, request{method: http.MethodPost, path: "/v1/jobs", body: r, again: true}, &job)
	return job, err
}

// Job returns everything about one job.
func (c *Client) Job(ctx context.Context, id int64) (scanner.JobDetails, error) {
	var job scanner.JobDetails
	err := c.call(ctx, get(jobPath(id), nil), &job)
	return job, err
}

// Jobs returns a page of jobs, newest first.
func (c *Client) Jobs(ctx context.Context, f scanner.JobFilter) ([]scanner.Job, error) {
	q := url.Values{}
	var statuses []string
	for _, s := range f.Status {
		statuses = append(statuses, string(s))
	}
	set(q, "status", strings.Join(statuses, ","))
	set(q, "pool", f.Pool)
	set(q, "image", f.Image)
	setTime(q, "since", f.Since)
	setInt(q, "before", f.Before)
	setInt(q, "limit", int64(f.Limit))
	var jobs []scanner.Job
	err := c.call(ctx, get("/v1/jobs", q), &jobs)
	return jobs, err
}

// Cancel ends a job that has not ended.
func (c *Client) Cancel(ctx context.Context, id int64) (scanner.Job, error) {
	return c.jobAction(ctx, id, "cancel")
}

// Retry makes a job that failed wait again.
func (c *Client) Retry(ctx context.Context, id int64) (scanner.Job, error) {
	return c.jobAction(ctx, id, "retry")
}

func (c *Client) jobAction(ctx context.Context, id int64, action string) (scanner.Job, error) {
	var job scanner.Job
	err := c.call(ctx, request{method: http.MethodPost, path: jobPath(id) + "/" + action}, &job)
	return job, err
}

func jobPath(id int64) string { return fmt.Sprintf("/v1/jobs/%d", id) }

// set, setInt and setTime set what is not empty.
func set(q url.Values, key, value string) {
	if value != "" {
		q.Set(key, value)
	}
}

func setInt(q url.Values, key string, value int64) {
	if value != 0 {
		q.Set(key, strconv.FormatInt(value, 10))
	}
}

func setTime(q url.Values, key string, value time.Time) {
	if !value.IsZero() {
		q.Set(key, value.UTC().Format(time.RFC3339Nano))
	}
}
