// Package daemon is what the mains of this project's daemons have in common: how their flags are read, what is
// said of one that is wrong, and where they keep things.
package daemon

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"stella/internal/proc"
)

// The exit codes of a daemon.
const (
	OK     = 0
	Failed = 1
	Misuse = 2
)

// Main is the main of one daemon.
type Main struct {
	Name, Version string
	// About says in a sentence or two what it does.
	About          string
	Stdout, Stderr io.Writer
}

// Parse reads flags, to which it adds those that every daemon has. It returns the logger that they ask for; or, if there is
// nothing to run, the code to exit with, and everything is said.
func (m Main) Parse(flags *flag.FlagSet, args []string) (log *slog.Logger, code int, run bool) {
	var level slog.Level
	var version bool
	flags.TextVar(&level, "log-level", slog.LevelInfo, "least `level` on standard error: debug, info, warn or error")
	flags.BoolVar(&version, "version", false, "say which version this is")
	flags.Init(m.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what is wrong is said below, without all the flags
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(m.Stdout, "Usage: %s [flags]\n\n%s\n\nFlags:\n", m.Name, m.About)
		flags.SetOutput(m.Stdout)
		flags.PrintDefaults()
		return nil, OK, false
	case err != nil:
		return nil, m.Fail(Misuse, fmt.Errorf("%w; see %s --help", err, m.Name)), false
	case flags.NArg() > 0:
		return nil, m.Fail(Misuse, fmt.Errorf("%q is no flag; see %s --help", flags.Arg(0), m.Name)), false
	case version:
		fmt.Fprintln(m.Stdout, m.Version)
		return nil, OK, false
	}
	return slog.New(slog.NewTextHandler(m.Stderr, &slog.HandlerOptions{Level: level})), OK, true
}

// List is a flag that may be given several times.
type List []string

// String implements [flag.Value].
func (l *List) String() string { return strings.Join(*l, ",") }

// Set implements [flag.Value].
func (l *List) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// Fail says what is wrong and returns the code, or OK where nothing is.
func (m Main) Fail(code int, err error) int {
	if err == nil {
		return OK
	}
	fmt.Fprintf(m.Stderr, "%s: %v\n", m.Name, err)
	return code
}

// trimAfter is when a daemon that is ready has come to its usual work.
const trimAfter = 10 * time.Second

// TrimSoon gives back what only the start needed, when it is over: memory of the heap, and by [proc.Trim] pages of the program. It is for daemons that have a budget.
func TrimSoon(log *slog.Logger) {
	time.AfterFunc(trimAfter, func() {
		debug.FreeOSMemory()
		if err := proc.Trim(); err != nil {
			log.Debug("the pages of the program stay resident", "why", err)
		}
	})
}

// StateDir is where a daemon keeps what has to survive it, unless somebody says otherwise: a directory of
// file-hierarchy(7) for root, and below XDG's state directory for others. Empty is that there is no place for it.
func StateDir(getenv func(string) string, names ...string) string {
	below := filepath.Join(names...)
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib", below)
	}
	if dir := getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, below)
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "state", below)
	}
	return ""
}
