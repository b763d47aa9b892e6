package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"stella/internal/scanner"
)

// keepDir has the finished layers of jobs that are not done, a directory for each.
func (s *Service) keepDir() string { return filepath.Join(s.o.DataDir, "layers") }

func (s *Service) keep(job int64) string {
	return filepath.Join(s.keepDir(), strconv.FormatInt(job, 10))
}

// dropKept removes what is kept for jobs that are done, and whose last attempt did not
// do so: it was another server's, or this one was killed before.
func (s *Service) dropKept(ctx context.Context) error {
	entries, err := os.ReadDir(s.keepDir())
	if err != nil {
		return fmt.Errorf("layers kept for jobs: %w", err)
	}
	for _, e := range entries {
		id, err := strconv.ParseInt(e.Name(), 10, 64)
		if err != nil {
			continue // nobody's here
		}
		job, err := s.queue.Job(ctx, id)
		switch {
		case errors.Is(err, scanner.ErrNotFound), err == nil && job.Status.Final():
			err = os.RemoveAll(s.keep(id))
		}
		if err != nil {
			return fmt.Errorf("layers kept for job %d: %w", id, err)
		}
	}
	return nil
}
