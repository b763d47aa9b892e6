package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// ExitCode is how a command ends, as seen by the shell.
type ExitCode int

// The exit codes, each with its meaning in [ExitCodes].
const (
	ExitOK          ExitCode = 0
	ExitFailed      ExitCode = 1
	ExitUsage       ExitCode = 2
	ExitPolicy      ExitCode = 3
	ExitAuth        ExitCode = 4
	ExitPartial     ExitCode = 5
	ExitMemory      ExitCode = 6
	ExitTimeout     ExitCode = 124
	ExitNotRun      ExitCode = 125
	ExitInterrupted ExitCode = 130
)

// ExitMeaning says what one exit code means and what helps.
type ExitMeaning struct {
	Code    ExitCode
	Name    string
	Meaning string
	Next    string
}

// ExitCodes is the one table of exit codes; help and docs/exit-codes.md are made from it.
var ExitCodes = []ExitMeaning{
	{ExitOK, "ok", "The command did what was asked, and the result is complete.", "Nothing."},
	{ExitFailed, "failed", "There is no result: the image cannot be read, a digest is not what the manifest promised, a disk is full, the time limit passed, no log could be read, or no scanner service, agent or rdev-api answers. For `stella doctor`: a check failed, or none could be made.", "Read the message; it names what failed, and what to do."},
	{ExitUsage, "usage", "The command line is wrong, or the service says that the request is. Nothing was done.", "Read the message, or `stella help`."},
	{ExitPolicy, "policy", "The command worked, and what it found breaks a policy. For `stella remedy verify`, and `apply --rollback-if-not-held`: the remedy did not hold.", "Read the result; it says which criterion was not met."},
	{ExitAuth, "auth", "A registry, or a service, wants credentials or refused those it got; or the service does not do this for this user.", "For a registry, log in with any tool that writes the Docker configuration, such as `docker login`. For the service, give a key with the scope that the message names, by STELLA_API_KEY (STELLA_RDEV_KEY for an rdev-api) or `--api-key-file`."},
	{ExitPartial, "partial result", "The result was written, but something in the image, or one of several logs, could not be read. The result names each place and the reason. For `stella remedy`: whether a change is in force, or held, cannot be told.", "Decide whether what is missing matters; the same scan gives the same answer."},
	{ExitMemory, "memory limit hit", "The image needs more memory than `--max-memory` allows, which was refused before it was tried; or more than any pool of the scanner service has. Nothing was written.", "Give `--max-memory` the amount that the message names. For the service, raise worker.memory_limit or add a pool, and use `--retry`."},
	{ExitTimeout, "timed out", "Only of `stella rdev run`: the command's time was over, and it was ended.", "Give it more with `--timeout`."},
	{ExitNotRun, "not run", "Only of `stella rdev run`: the command did not run, somebody else cancelled it, or how it ended cannot be told.", "Read the message; it says which."},
	{ExitInterrupted, "interrupted", "SIGINT or SIGTERM ended the command. Layers that were finished are kept in the cache; a job of the scanner service goes on, and a command of `stella rdev run` is cancelled.", "Run the same command again: it goes on where it was. The message says how to get the result of a job."},
}

// newExitCodes is "stella help exit-codes".
func newExitCodes() *cobra.Command {
	var b strings.Builder
	b.WriteString("Every command ends with one of these; \"stella rdev run\" ends as the command that it runs:\n\n")
	for _, m := range ExitCodes {
		fmt.Fprintf(&b, "%4d  %s\n      %s\n      %s\n", m.Code, m.Name, m.Meaning, m.Next)
	}
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long:  strings.TrimRight(b.String(), "\n"),
	}
}
