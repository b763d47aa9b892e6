// Package cli is the command line of stella: one file per command.
//
// Vocabulary: the result of a command goes to standard output, or to the file
// that -o names; everything else (progress, warnings, reports about the scan
// itself) goes to standard error. A usage error is the caller's mistake, found
// before anything was done. The service is a stellad, which scans in workers and
// is asked over its API; commands that need it have the flags of [serverFlags].
//
// Hazards:
//
//   - The process has a memory budget (--max-memory) that the binary's own
//     mapped pages count against, so every library that is linked here costs
//     memory in each scan.
//   - Nothing here ends the process; [Main] returns an [ExitCode] and cmd/stella
//     exits with it.
//   - Standard output can be a pipe whose reader went away. That is not a failure.
package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"syscall"

	"github.com/spf13/cobra"
)

// Options is all that the command line takes from the process around it.
type Options struct {
	// Args are the arguments after the program's name.
	Args []string
	// Stdout gets results only, Stderr everything else. Where they are files,
	// they are asked whether they are terminals.
	Stdout, Stderr io.Writer
	// Getenv looks up an environment variable: os.Getenv outside of tests.
	Getenv func(string) string
	// Version is what "stella version" says and documents name as their tool.
	Version string
}

// app is what the commands share.
type app struct {
	stdout  io.Writer
	console *console
	getenv  func(string) string
	version string

	quiet   bool
	verbose bool

	// cached is set when a scan begins that keeps its finished layers.
	cached bool
	// job is set while a command waits for one that goes on without it.
	job int64
	// goOn is how to go on with a command that was interrupted in what it does in steps.
	goOn string
}

// Main runs one command and says how the process should exit. What went wrong
// has been said on Stderr by then.
func Main(ctx context.Context, o Options) ExitCode {
	a := &app{
		stdout:  o.Stdout,
		console: newConsole(o.Stderr, o.Getenv),
		getenv:  o.Getenv,
		version: o.Version,
	}
	root := newRoot(a)
	root.SetArgs(o.Args)
	err := root.ExecuteContext(ctx)
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return ExitOK
	}
	return a.report(ctx, err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "stella",
		Short: "Make a correct SBOM of any container image in 32 MiB of memory",
		Long: `Stella reads container images and says which packages are in them. It reads
each layer once, as a stream, so the memory it needs does not depend on the image.
It scans alone, or lets a scanner service scan in workers with memory limits.`,
		Example: `  stella scan image debian:12
  stella scan image oci-archive:app.tar -o cyclonedx-json=app.cdx.json
  stella image inspect debian:12 --format json | jq .size
  stella scanner status`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.console)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(a.usage)
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "say nothing but errors on standard error")
	root.PersistentFlags().BoolVarP(&a.verbose, "verbose", "v", false, "say more on standard error: what is read, retried, cached, and every problem")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.quiet && a.verbose {
			return usagef(cmd, "--quiet and --verbose contradict each other")
		}
		return nil
	}
	group(root, newScan(a), newImage(a), newScanner(a), newOOM(a), newPods(a), newTop(a), newExplain(a), newIncidents(a), newRemedy(a), newRdev(a), newGate(a), newDoctor(a), newKeys(a), newUp(a), newWorker(a), newVersion(a), newCompletion(), newExitCodes())
	a.addVersionFlag(root)
	return root
}

// group makes parent a command that only holds others: alone it shows its
// help, and an unknown name is a usage error with a suggestion.
func group(parent *cobra.Command, children ...*cobra.Command) *cobra.Command {
	parent.AddCommand(children...)
	parent.DisableFlagsInUseLine = true
	parent.Args = unknownCommand
	parent.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return parent
}

// result writes to standard output. That its reader went away is no failure:
// it has read what it wanted.
func (a *app) result(write func(io.Writer) error) error {
	err := buffered(a.stdout, write)
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// log makes the logger for people. It is made by the command and not before,
// because it depends on flags.
func (a *app) log() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.quiet:
		level = slog.LevelError
	case a.verbose:
		level = slog.LevelDebug
	}
	return slog.New(&logHandler{w: a.console, level: level})
}
