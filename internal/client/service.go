package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"stella/internal/doctor"
	"stella/internal/scanner"
)

// Workers returns the workers of all instances.
func (c *Client) Workers(ctx context.Context) ([]scanner.Worker, error) {
	var workers []scanner.Worker
	err := c.call(ctx, get("/v1/workers", nil), &workers)
	return workers, err
}

// RestartWorkers restarts workers, each after its attempt unless the request says now.
func (c *Client) RestartWorkers(ctx context.Context, r scanner.RestartRequest) ([]scanner.PoolChange, error) {
	var pools []scanner.PoolChange
	err := c.call(ctx, request{method: http.MethodPost, path: "/v1/workers/restart", body: r}, &pools)
	return pools, err
}

// Pools returns the pools, the default one too.
func (c *Client) Pools(ctx context.Context) ([]scanner.PoolStatus, error) {
	var pools []scanner.PoolStatus
	err := c.call(ctx, get("/v1/pools", nil), &pools)
	return pools, err
}

// PutPool makes a pool, or changes its memory and count.
func (c *Client) PutPool(ctx context.Context, p scanner.Pool) (scanner.PoolChange, error) {
	body := struct {
		Memory int64 `json:"memory"`
		Count  int   `json:"count"`
	}{p.Memory, p.Count}
	var change scanner.PoolChange
	err := c.call(ctx, request{method: http.MethodPut, path: "/v1/pools/" + url.PathEscape(p.Name), body: body}, &change)
	return change, err
}

// RemovePool removes a pool; the jobs that wait for it wait for the default one.
func (c *Client) RemovePool(ctx context.Context, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: "/v1/pools/" + url.PathEscape(name)}, nil)
}

// Settings returns the settings that key names: one, a group, or with "" all.
func (c *Client) Settings(ctx context.Context, key string) ([]scanner.Setting, error) {
	q := url.Values{}
	set(q, "key", key)
	var settings []scanner.Setting
	err := c.call(ctx, get("/v1/settings", q), &settings)
	return settings, err
}

// Set changes a setting.
func (c *Client) Set(ctx context.Context, key, value string) (scanner.SettingChange, error) {
	body := struct {
		Value string `json:"value"`
	}{value}
	var change scanner.SettingChange
	err := c.call(ctx, request{method: http.MethodPut, path: "/v1/settings/" + url.PathEscape(key), body: body}, &change)
	return change, err
}

// Unset gives a setting its default again.
func (c *Client) Unset(ctx context.Context, key string) (scanner.SettingChange, error) {
	var change scanner.SettingChange
	err := c.call(ctx, request{method: http.MethodDelete, path: "/v1/settings/" + url.PathEscape(key)}, &change)
	return change, err
}

// Status returns the service at a glance.
func (c *Client) Status(ctx context.Context) (scanner.ServiceStatus, error) {
	var status scanner.ServiceStatus
	err := c.call(ctx, get("/v1/status", nil), &status)
	return status, err
}

// Queue returns what waits.
func (c *Client) Queue(ctx context.Context) (scanner.QueueStatus, error) {
	var status scanner.QueueStatus
	err := c.call(ctx, get("/v1/queue", nil), &status)
	return status, err
}

// Stats returns totals over the time that has just passed; 0 is all that is kept.
func (c *Client) Stats(ctx context.Context, last time.Duration) (scanner.Stats, error) {
	var stats scanner.Stats
	err := c.call(ctx, get("/v1/stats", lastQuery(last)), &stats)
	return stats, err
}

// WorkerKills returns the OOM kills of workers of the time that has just passed, newest first; 0 is all that are kept.
func (c *Client) WorkerKills(ctx context.Context, last time.Duration) ([]scanner.WorkerKill, error) {
	var kills []scanner.WorkerKill
	err := c.call(ctx, get("/v1/workers/kills", lastQuery(last)), &kills)
	return kills, err
}

// Doctor runs the server's checks with these IDs, or below them; none is all.
func (c *Client) Doctor(ctx context.Context, checks []string) (doctor.Report, error) {
	q := url.Values{}
	set(q, "check", strings.Join(checks, ","))
	var report doctor.Report
	err := c.call(ctx, get("/v1/doctor", q), &report)
	return report, err
}

func lastQuery(last time.Duration) url.Values {
	q := url.Values{}
	if last > 0 {
		q.Set("last", scanner.Duration(last).String())
	}
	return q
}

// CreateKey makes an API key. The answer is the only one that ever has its secret.
func (c *Client) CreateKey(ctx context.Context, r scanner.KeyRequest) (scanner.NewKey, error) {
	var key scanner.NewKey
	err := c.call(ctx, request{method: http.MethodPost, path: "/v1/keys", body: r}, &key)
	return key, err
}

// Keys returns the API keys, also those that have expired.
func (c *Client) Keys(ctx context.Context) ([]scanner.Key, error) {
	var keys []scanner.Key
	err := c.call(ctx, get("/v1/keys", nil), &keys)
	return keys, err
}

// RevokeKey removes a key: the next request with it is refused.
func (c *Client) RevokeKey(ctx context.Context, name string) error {
	return c.call(ctx, request{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(name)}, nil)
}
