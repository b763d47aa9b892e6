package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"stella/internal/scan"
	"stella/internal/scan/extract/all"
	"stella/internal/scan/image"
	"stella/internal/scan/image/registry"
	"stella/internal/scan/stream"
	"stella/internal/scanner"
	"stella/internal/scanner/resolve"
	"stella/internal/spool"
)

// scanTask is one task in the worker's process.
type scanTask struct {
	Task
	version string
	out     *teller
	log     *slog.Logger
	shown   *progress
}

func newScan(t Task, out *teller, version string) *scanTask {
	log := slog.New(&logHandler{out: out, left: new(quota)})
	return &scanTask{Task: t, version: version, out: out, log: log, shown: newProgress(out, log)}
}

// run scans, and says how it ended.
func (s *scanTask) run(ctx context.Context) ended {
	s.shown.start()
	result, err := s.scan(ctx)
	last := s.shown.stop()
	if err != nil {
		return failed(err, last)
	}
	return ended{Outcome: scanner.OutcomeSucceeded, Result: result, Last: last}
}

func (s *scanTask) scan(ctx context.Context) (_ *scanner.Result, err error) {
	started := time.Now()
	scan.LimitRuntime(s.Memory)
	m, err := resolve.Open(ctx, s.Image, s.Platform, s.Policy, s.Local, resolve.Options{
		Digest: s.Digest, TempDir: s.TempDir, UserAgent: "stella/" + s.version, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	// Of an image of ten thousand layers these are megabytes, and nothing needs them any more.
	m.RawManifest, m.RawConfig = nil, nil
	temp := s.TempDir
	if s.Mode == scanner.ModeMemory {
		temp = spool.InMemory
	}
	inventory, err := scan.Run(ctx, scan.Options{
		Image: m, Extractors: all.Extractors(),
		TempDir: temp, CacheDir: s.CacheDir, CacheSize: s.CacheSize,
		Memory: s.Memory, Monitor: &s.shown.monitor, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, inventory.Close()) }()
	r, err := s.keep(m, inventory)
	if err != nil {
		return nil, err
	}
	if s.Attach {
		if r.Attached, err = s.attach(ctx, m, inventory, temp); err != nil {
			return nil, err
		}
	}
	s.log.Info("sbom: the inventory is complete", "image", s.Image, "components", r.Components, "problems", r.Problems,
		"bytes", r.Size, "seconds", fmt.Sprintf("%.2f", time.Since(started).Seconds()))
	return r, nil
}

// keep writes the result's files.
func (s *scanTask) keep(m *image.Image, result *scan.Result) (*scanner.Result, error) {
	r := &scanner.Result{Problems: len(result.Problems())}
	for _, n := range result.Count() {
		r.Components += int64(n)
	}
	subject, err := json.Marshal(Subject{scan.Subject(m), m.Config.Created})
	if err == nil {
		err = os.WriteFile(s.subjectFile(), subject, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("keep the result: %w", err)
	}
	f, err := os.OpenFile(s.inventoryFile(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("keep the result: %w", err)
	}
	sum := sha256.New()
	r.Size, err = result.WriteTo(io.MultiWriter(f, sum))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("keep the result: %w", err)
	}
	r.Inventory = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return r, nil
}

// failed says how a scan ended that gave an error.
func failed(err error, last progressMessage) ended {
	text := strings.TrimSpace(strings.ReplaceAll(err.Error(), "\n", "; "))
	if errors.Is(err, scan.ErrMemory) || errors.Is(err, syscall.ENOMEM) {
		var need *stream.NeedError
		if errors.As(err, &need) { // without the command line's advice
			text = need.Error()
		}
		return ended{Outcome: scanner.OutcomeMemory, Message: cut("memory allocation failed: " + text), Last: last}
	}
	return ended{Outcome: scanner.OutcomeError, Message: cut(text), Retryable: retryable(err), Last: last}
}

// retryable reports whether the same scan may well work at another time: the
// registry or the network was at fault, or there was no room.
func retryable(err error) bool {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, full) {
			return true
		}
	}
	var remote *registry.Error
	return errors.Is(err, scanner.ErrUnavailable) || errors.As(err, &remote) && remote.Passing()
}
