package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"stella/internal/client"
	"stella/internal/rdev"
	"stella/internal/scan"
	"stella/internal/scan/image"
	"stella/internal/scanner"
)

// report says on standard error what went wrong and what helps, in one line,
// and returns the exit code for it.
func (a *app) report(ctx context.Context, err error) ExitCode {
	code := codeOf(ctx, err)
	if exit, ok := errors.AsType[*exitError](err); ok && exit.cause == nil {
		return code
	}
	if code == ExitInterrupted {
		fmt.Fprintf(a.console, "stella: %s\n", sentence("interrupted", a.resume()))
		return code
	}
	fmt.Fprintf(a.console, "stella: %s\n", sentence(oneLine(err.Error()), a.next(err)))
	var p *partialError
	if errors.As(err, &p) && !a.quiet {
		most := maxProblems
		if a.verbose {
			most = len(p.problems)
		}
		fmt.Fprint(a.console, p.details(most))
	}
	return code
}

// codeOf is the one place that knows which error has which exit code.
func codeOf(ctx context.Context, err error) ExitCode {
	var usage *usageError
	var partial *partialError
	var job *jobError
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage):
		return ExitUsage
	case ctx.Err() != nil:
		return ExitInterrupted
	case errors.Is(err, scanner.ErrInvalid), errors.Is(err, rdev.ErrInvalid):
		return ExitUsage
	case errors.Is(err, image.ErrAuth), errors.Is(err, scanner.ErrDenied), errors.Is(err, rdev.ErrDenied):
		return ExitAuth
	case errors.Is(err, scan.ErrMemory), errors.As(err, &job) && job.memory():
		return ExitMemory
	case errors.As(err, &partial):
		return ExitPartial
	}
	return ExitFailed
}

// next is what to do about an error; empty where the error says it itself.
func (a *app) next(err error) string {
	var usage *usageError
	var timeout *timeoutError
	var job *jobError
	switch {
	case errors.As(err, &usage):
		if usage.cmd == nil {
			return "see: stella --help"
		}
		return "see: " + usage.cmd.CommandPath() + " --help"
	case errors.As(err, &timeout):
		return a.resume()
	case errors.Is(err, client.ErrNoServer):
		return ""
	case errors.As(err, &job):
		return fmt.Sprintf("see: stella scanner job details %d", job.job.ID)
	case errors.Is(err, image.ErrAuth):
		return "log in with a tool that writes the Docker configuration, such as docker login"
	case errors.Is(err, image.ErrNotFound):
		return "check the name and the tag or digest"
	case errors.Is(err, syscall.ENOSPC):
		return "free some space, or let --tmp-dir and --cache-dir name larger disks"
	case errors.Is(err, syscall.EMFILE):
		return "raise the limit of open files (ulimit -n)"
	case errors.Is(err, fs.ErrPermission):
		return "check who owns it, and as whom stella runs"
	}
	return ""
}

// resume says how to go on with a scan that did not end; empty where it would begin anew.
func (a *app) resume() string {
	switch {
	case a.job != 0:
		return fmt.Sprintf("job %d goes on: stella scan get %d waits for its result, stella scanner job cancel %d ends it", a.job, a.job, a.job)
	case a.goOn != "":
		return a.goOn
	case !a.cached:
		return ""
	}
	return "finished layers are kept in the cache, so the same command goes on from there"
}

// sentence joins what went wrong and what to do.
func sentence(what, next string) string {
	switch {
	case next == "":
		return what
	case strings.HasSuffix(what, "?"):
		return what + " " + strings.ToUpper(next[:1]) + next[1:]
	}
	return what + "; " + next
}

func oneLine(s string) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}
