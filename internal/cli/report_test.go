package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/scan"
	"stella/internal/scan/image"
	"stella/internal/scan/inventory"
)

func TestReport(t *testing.T) {
	interrupted, cancel := context.WithCancel(context.Background())
	cancel()
	timeout := &timeoutError{"app", time.Minute, scan.Snapshot{
		Phase: scan.PhaseLayers, Layers: 7, Done: 2, Read: 30 << 20, Total: 40 << 20, Packages: 1,
		Active: []scan.Active{{Layer: 3, Entries: 1234, Path: "srv/big\x1b.jar"}},
	}}
	tests := []struct {
		name   string
		ctx    context.Context
		err    error
		cached bool
		want   ExitCode
		text   string
	}{
		{"other", nil, errors.New("two\nlines"), false, ExitFailed, "stella: two; lines\n"},
		{"auth", nil, fmt.Errorf("open x: %w", image.ErrAuth), false, ExitAuth,
			"stella: open x: access was refused; log in with a tool that writes the Docker configuration, such as docker login\n"},
		{"memory", nil, fmt.Errorf("%w: needs 128 MiB", scan.ErrMemory), false, ExitMemory, "stella: the memory budget is too small: needs 128 MiB\n"},
		{"usage", nil, &usageError{err: errors.New("wrong")}, false, ExitUsage, "stella: wrong; see: stella --help\n"},
		{"interrupted", interrupted, context.Canceled, true, ExitInterrupted,
			"stella: interrupted; finished layers are kept in the cache, so the same command goes on from there\n"},
		{"timeout", nil, errors.Join(timeout, errors.New("close")), true, ExitFailed,
			"stella: app was not done after 1m0s (--timeout). It was at: layers 2/7  75% of 40.0 MiB  1 package; " +
				"reading layer 3, entry 1,234, file srv/big\uFFFD.jar; close; finished layers are kept in the cache, so the same command goes on from there\n"},
		{"disk", nil, fmt.Errorf("spool: %w", syscall.ENOSPC), false, ExitFailed,
			"stella: spool: no space left on device; free some space, or let --tmp-dir and --cache-dir name larger disks\n"},
		{"partial", nil, partial([]inventory.Problem{{Layer: 2, Path: "a/b", Extractor: "rpm", Reason: "line 3 ends early"}, {Layer: -1, Reason: "too much"}}), false, ExitPartial,
			"stella: the result is partial: 2 places in the image could not be read\n  layer 2: a/b: line 3 ends early (rpm)\n  too much\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := tt.ctx
			if ctx == nil {
				ctx = context.Background()
			}
			var out bytes.Buffer
			a := &app{console: &console{w: &out}, cached: tt.cached}
			if got := a.report(ctx, tt.err); got != tt.want {
				t.Errorf("exit code is %d; want %d", got, tt.want)
			}
			if out.String() != tt.text {
				t.Errorf("said  %q\nwant  %q", out.String(), tt.text)
			}
		})
	}
}

func TestPartialShowsAtMostSoMany(t *testing.T) {
	e := &partialError{25, make([]inventory.Problem, 25)}
	if got := strings.Count(e.details(maxProblems), "\n"); got != maxProblems+1 {
		t.Errorf("%d lines; want %d and one that says how many more", got, maxProblems)
	}
	if partial(nil) != nil {
		t.Error("no problems make an error")
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"scan", "image", "version", "completion"}
	for word, want := range map[string]string{"scna": "scan", "imagee": "image", "comp": "completion", "VERSION": "version", "xyzzy": "", "s": "scan"} {
		got := didYouMean(word, known)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("didYouMean(%q) = %q; want %q", word, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d; want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
