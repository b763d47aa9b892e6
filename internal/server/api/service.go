package api

import (
	"context"
	"io"
	"time"

	"stella/internal/doctor"
	"stella/internal/scan/sbom"
	"stella/internal/scanner"
)

// Service does what the API's operations say. Its errors are scanner.Errorf's where
// the caller should know them; of others the caller learns only where in the log they are.
// Its methods are called by several goroutines.
type Service interface {
	Jobs
	Workers
	Settings
	Reports
}

// Jobs are scans that were asked for.
type Jobs interface {
	Submit(ctx context.Context, by scanner.Caller, r scanner.Request) (scanner.Job, error)
	Job(ctx context.Context, id int64) (scanner.JobDetails, error)
	Jobs(ctx context.Context, f scanner.JobFilter) ([]scanner.Job, error)
	Cancel(ctx context.Context, by scanner.Caller, id int64) (scanner.Job, error)
	Retry(ctx context.Context, by scanner.Caller, id int64) (scanner.Job, error)
	// Events calls fn with the job's events behind after, in order, and with its
	// progress, until the job has ended or fn returns an error, which it returns.
	Events(ctx context.Context, id, after int64, fn func(scanner.Event) error) error
	// SBOM writes a job's result, without holding all of it.
	SBOM(ctx context.Context, id int64, f sbom.Format, w io.Writer) error
}

// Workers run scans, in pools.
type Workers interface {
	Workers(ctx context.Context) ([]scanner.Worker, error)
	RestartWorkers(ctx context.Context, by scanner.Caller, r scanner.RestartRequest) ([]scanner.PoolChange, error)
	Pools(ctx context.Context) ([]scanner.PoolStatus, error)
	PutPool(ctx context.Context, by scanner.Caller, p scanner.Pool) (scanner.PoolChange, error)
	RemovePool(ctx context.Context, by scanner.Caller, name string) error
}

// Settings change how the service works.
type Settings interface {
	// Settings returns those that key names: one, a group, or with "" all.
	Settings(ctx context.Context, key string) ([]scanner.Setting, error)
	Set(ctx context.Context, by scanner.Caller, key, value string) (scanner.SettingChange, error)
	Unset(ctx context.Context, by scanner.Caller, key string) (scanner.SettingChange, error)
}

// Reports say how the service does. A last of 0 is all that is kept.
type Reports interface {
	Status(ctx context.Context) (scanner.ServiceStatus, error)
	Queue(ctx context.Context) (scanner.QueueStatus, error)
	Stats(ctx context.Context, last time.Duration) (scanner.Stats, error)
	WorkerKills(ctx context.Context, last time.Duration) ([]scanner.WorkerKill, error)
	// Logs calls fn with the lines chosen, in order; with follow it goes on with new
	// ones until ctx ends. fn's error ends it, and is returned.
	Logs(ctx context.Context, f scanner.LogFilter, follow bool, fn func(scanner.LogLine) error) error
	// Doctor runs the checks with these IDs, or below them; none is all.
	Doctor(ctx context.Context, checks []string) (doctor.Report, error)
}
