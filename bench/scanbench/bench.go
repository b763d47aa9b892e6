package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"stella/bench/images"
	"stella/bench/machine"
)

// Options say what to measure.
type Options struct {
	Image        string // OCI layout directory
	Dir          string // where binaries and temporary files go
	Tools        []string
	Stella       string // its binary; built where empty
	StellaMemory int64  // bytes
	PeerMemory   int64  // bytes
	Repeat       int
	Timeout      time.Duration // of each run
	Log          *slog.Logger
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	if _, err := os.Stat(filepath.Join(o.Image, "index.json")); err != nil {
		errs = append(errs, fmt.Errorf("image %s is no OCI layout: %w", o.Image, err))
	}
	if len(o.Tools) == 0 {
		errs = append(errs, errors.New("no tools to run"))
	}
	if o.StellaMemory <= 0 || o.PeerMemory <= 0 {
		errs = append(errs, errors.New("a memory limit must be positive"))
	}
	if o.Repeat < 1 || o.Timeout <= 0 {
		errs = append(errs, errors.New("repetitions and timeout must be positive"))
	}
	return errors.Join(errs...)
}

// Measure runs every tool on the image. Rounds go over all tools, so that a busy
// spell of the machine hits each of them. The document of a tool's last run stays
// in the image's directory below Dir/results.
func (o Options) Measure(ctx context.Context) (Report, error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	report := Report{Image: filepath.Base(o.Image), Machine: machine.Describe()}
	var err error
	if report.Figures, err = images.Measure(o.Image); err != nil {
		return Report{}, err
	}
	work := filepath.Join(o.Dir, "results", report.Image)
	if err := os.MkdirAll(work, 0o755); err != nil {
		return Report{}, err
	}
	scratch, err := os.MkdirTemp(work, "scratch-*")
	if err != nil {
		return Report{}, err
	}
	defer os.RemoveAll(scratch)
	tools, err := o.tools(work, scratch)
	if err != nil {
		return Report{}, err
	}

	commands := make([][]string, len(tools))
	for i, t := range tools {
		report.Results = append(report.Results, Result{Tool: t.name, Limit: t.limit})
		if commands[i], err = t.prepare(ctx); err != nil {
			report.Results[i].Unmeasured = err.Error()
		}
	}
	for round := range o.Repeat {
		for i, t := range tools {
			r := &report.Results[i]
			if r.Unmeasured != "" {
				continue
			}
			// A document of an earlier measurement must not pass for this one's.
			if t.document != "" {
				if err := os.RemoveAll(t.document); err != nil {
					return Report{}, err
				}
			}
			o.Log.Info("running", "tool", t.name, "round", round+1, "limit", size(t.limit))
			run, err := runOnce(ctx, t.name, commands[i], t.limit, o.Timeout, scratch)
			if ctx.Err() != nil {
				return Report{}, ctx.Err()
			}
			if err != nil {
				r.Unmeasured = err.Error()
				continue
			}
			r.Runs = append(r.Runs, run)
		}
	}
	for i, t := range tools {
		r := &report.Results[i]
		r.summarize()
		if t.document != "" && r.Unmeasured == "" {
			r.count(t.document)
		}
	}
	report.compare()
	return report, nil
}

// count reads a tool's document. A tool that was not cut short may end with an
// error and still have written all of it, as scalibr does on the medium image.
func (r *Result) count(document string) {
	packages, err := countFile(document)
	switch last := r.Runs[len(r.Runs)-1]; {
	case last.CutShort:
	case err == nil:
		r.Packages = packages
	case r.Median.Failure == "":
		r.Median.Failure = err.Error()
	}
}

func countFile(name string) (*Packages, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := countPackages(f)
	if err != nil {
		return nil, err
	}
	return &p, nil
}
