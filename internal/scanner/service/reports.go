package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"stella/internal/scan/sbom"
	"stella/internal/scan/squash"
	"stella/internal/scanner"
	"stella/internal/scanner/worker"
	"stella/internal/spool"
)

// Plan is the pools and the settings in force.
func (s *Service) Plan(context.Context) (scanner.Plan, error) { return s.currentPlan(), nil }

// Quarantines are the images that are not tried again by themselves, newest first.
func (s *Service) Quarantines(ctx context.Context, limit int) ([]scanner.Quarantine, error) {
	return s.queue.Quarantines(ctx, limit)
}

// Jobs are those that the filter chooses, newest first.
func (s *Service) Jobs(ctx context.Context, f scanner.JobFilter) ([]scanner.Job, error) {
	return s.queue.Jobs(ctx, f)
}

// SBOM writes the result of a job that has succeeded. What it holds of the
// result in memory does not depend on its size; a copy is in a temporary file meanwhile.
func (s *Service) SBOM(ctx context.Context, id int64, f sbom.Format, w io.Writer) (err error) {
	job, err := s.queue.Job(ctx, id)
	if err != nil {
		return err
	}
	if job.Result == nil {
		return scanner.Errorf(scanner.ErrConflict, "job %d has no result: it is %s", id, job.Status)
	}
	raw, err := s.queue.Subject(ctx, id)
	if err != nil {
		return err
	}
	var subject worker.Subject
	if err := json.Unmarshal(raw, &subject); err != nil {
		return fmt.Errorf("the result of job %d: %w", id, err)
	}
	file, err := spool.TempFile(s.o.TempDir)
	if err != nil {
		return err
	}
	if err := s.queue.Inventory(ctx, id, file); err != nil {
		return errors.Join(err, file.Close())
	}
	inventory, err := squash.Open(file)
	if err != nil {
		return fmt.Errorf("the result of job %d: %w", id, err)
	}
	defer func() { err = errors.Join(err, inventory.Close()) }()
	return sbom.Write(ctx, w, f, &sbom.Document{
		Subject: subject.Subject, Inventory: inventory, Created: subject.Created, ToolVersion: s.instance.Version,
	})
}

// Settings are those that key names: one, a group, or with "" all.
func (s *Service) Settings(ctx context.Context, key string) ([]scanner.Setting, error) {
	values, all, _, err := s.queue.Settings(ctx)
	if err != nil {
		return nil, err
	}
	chosen, err := values.Describe(key)
	if err != nil {
		return nil, scanner.Errorf(scanner.ErrNotFound, "%w", err)
	}
	for i := range chosen {
		for _, x := range all { // which know where a value comes from
			if x.Key == chosen[i].Key {
				chosen[i] = x
			}
		}
	}
	return chosen, nil
}

// Queue is what waits.
func (s *Service) Queue(ctx context.Context) (scanner.QueueStatus, error) {
	return s.queue.QueueStatus(ctx)
}

// ago is the moment so long ago, and no moment for 0.
func ago(last time.Duration) time.Time {
	if last == 0 {
		return time.Time{}
	}
	return time.Now().Add(-last)
}

// Stats are totals over what is kept, or over the last time.
func (s *Service) Stats(ctx context.Context, last time.Duration) (scanner.Stats, error) {
	return s.queue.Stats(ctx, ago(last))
}

// WorkerKills are the latest OOM kills of workers, newest first, a page at most.
func (s *Service) WorkerKills(ctx context.Context, last time.Duration) ([]scanner.WorkerKill, error) {
	return s.IncidentsSince(ctx, ago(last), scanner.MaxPage)
}

// IncidentsSince are the OOM kills of workers since then, newest first.
func (s *Service) IncidentsSince(ctx context.Context, since time.Time, limit int) ([]scanner.WorkerKill, error) {
	return s.queue.Incidents(ctx, since, limit)
}

// Logs calls f with lines of the log, and with follow goes on with new ones until ctx ends.
func (s *Service) Logs(ctx context.Context, filter scanner.LogFilter, follow bool, f func(scanner.LogLine) error) error {
	if follow {
		return s.logs.Follow(ctx, filter, f)
	}
	return s.logs.Query(ctx, filter, f)
}
