package rdevserver

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/rdev"
)

// limited lets this process open so many files, until the test ends.
func limited(t *testing.T, most uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: before.Max}); err != nil {
		t.Fatalf("this process may not open %d files: %v", most, err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	})
}

// A limit that is too low for what may be there at once is told at the start, and one that is enough is not.
func TestFewDescriptors(t *testing.T) {
	o := options(t)
	o.Streams, o.Limits.Running = 10, 10
	heard := make(chan string, 1)
	o.Log = slog.New(warnings{slog.DiscardHandler, heard})
	limited(t, o.descriptors())
	o.checkDescriptors()
	if len(heard) > 0 {
		t.Errorf("as many as may be needed: %s", <-heard)
	}
	limited(t, o.descriptors()-1)
	start(t, o)
	if len(heard) == 0 {
		t.Error("one less than may be needed: nothing is said")
	} else if text := <-heard; !strings.Contains(text, "--streams") {
		t.Errorf("what is said first is %q", text)
	}
}

// A command takes no more of them than is counted for it.
func TestDescriptorsOfCommands(t *testing.T) {
	o := options(t)
	start(t, o)
	c := connect(t, o)
	count := func() int {
		open, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(open)
	}
	before := count()
	const commands = 8
	for range commands {
		var command rdev.Command
		c.do("POST", "/v1/projects/p/commands", `{"argv":["sleep","1000"]}`, 202, &command)
		for command.Status != rdev.Running {
			c.do("GET", "/v1/projects/p/commands/"+command.ID, "", 200, &command)
		}
	}
	if each := float64(count()-before) / commands; each > commandDescriptors || each < 1 {
		t.Errorf("a command takes %.1f descriptors, and %d are counted", each, commandDescriptors)
	} else {
		t.Logf("%.1f", each)
	}
}

// warnings is a handler that hears of the first warning.
type warnings struct {
	slog.Handler
	heard chan<- string
}

func (warnings) Enabled(context.Context, slog.Level) bool { return true }

func (h warnings) WithAttrs([]slog.Attr) slog.Handler { return h }

func (h warnings) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn {
		select {
		case h.heard <- r.Message:
		default:
		}
	}
	return nil
}
