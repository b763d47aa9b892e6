package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// maxHolder bounds what is read of a lock file: one line that lockFile wrote.
const maxHolder = 256

// A process that was killed while it started another leaves its lock to that one until it begins its own program, which
// on a busy machine takes a moment: so whoever finds the lock taken looks again for a while.
const (
	lockWait  = 2 * time.Second
	lockAgain = 20 * time.Millisecond
)

// lockFile takes PATH.lock, so that only one process has the database at PATH, and waits for it as o says.
// The kernel gives it back when the process ends, however that happens. The file stays: to remove
// it would race with the next process.
func lockFile(ctx context.Context, path string, o Options) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database %s, for which its directory must exist and be writable: %w", path, err)
	}
	err = flock(ctx, f, o)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		return nil, &Error{Kind: ErrLocked, Database: path, Advice: holder(f)}
	}
	if err == nil {
		err = sign(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock database %s: %w", path, err)
	}
	return f, nil
}

// flock takes the lock, if it is free within the time that o allows, or by the end of ctx.
func flock(ctx context.Context, f *os.File, o Options) error {
	until := time.Now().Add(max(lockWait, o.Wait))
	for said := o.Wait == 0; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || ctx.Err() != nil || time.Now().After(until) {
			return err
		}
		if !said {
			o.Log.Info("waiting for another process to end", "at_most", o.Wait, "lock", f.Name())
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockAgain): // a lock tells nobody that it is free
		}
	}
}

// sign writes who has the lock, for people.
func sign(f *os.File) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "process %d on %s has it since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	return err
}

// holder is who has the lock, or nothing where that has not been written yet.
func holder(f *os.File) string {
	line, err := io.ReadAll(io.LimitReader(f, maxHolder))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(line))
}
