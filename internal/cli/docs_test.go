package cli

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"stella/internal/scanner"
)

var update = flag.Bool("update", false, "write the documents instead of comparing them")

// What is made from the code must be what is in docs/.
func TestDocs(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"../../docs/exit-codes.md":    markdownExitCodes,
		"../../docs/cli.md":           markdownReference,
		"../../docs/configuration.md": markdownConfiguration,
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s is not what the code says; run make docs (-file +code):\n%s", name, diff)
		}
	}
}

// Every code is in the table once, with all its words.
func TestExitCodes(t *testing.T) {
	seen := map[ExitCode]bool{}
	for _, m := range ExitCodes {
		if seen[m.Code] || m.Name == "" || m.Meaning == "" || m.Next == "" {
			t.Errorf("row %d is double or incomplete: %+v", m.Code, m)
		}
		seen[m.Code] = true
	}
	for _, c := range []ExitCode{ExitOK, ExitFailed, ExitUsage, ExitPolicy, ExitAuth, ExitPartial, ExitMemory, ExitTimeout, ExitNotRun, ExitInterrupted} {
		if !seen[c] {
			t.Errorf("exit code %d is not in the table", c)
		}
	}
}

// markdownExitCodes writes the table as Markdown.
func markdownExitCodes(w io.Writer) error {
	if _, err := io.WriteString(w, exitCodesIntro); err != nil {
		return err
	}
	for _, m := range ExitCodes {
		if _, err := fmt.Fprintf(w, "| %d | %s | %s | %s |\n", m.Code, m.Name, m.Meaning, m.Next); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, exitCodesEnd)
	return err
}

const exitCodesIntro = `# Exit codes

Every command of ` + "`stella`" + ` ends with one of these; ` + "`stella rdev run`" + ` ends as the command that it
runs does. The table is made from
` + "`internal/cli/exit.go`" + ` by ` + "`make docs`" + `, and a test compares the two.

| code | name | meaning | what next |
|---|---|---|---|
`

const exitCodesEnd = `
When the reader of standard output goes away early (` + "`stella … | head`" + `), nothing is
said, and the code is that of the work itself.

A second SIGINT or SIGTERM ends the process at once, also with 130. SIGKILL cannot be
caught; temporary files have no names, so none are left behind, and finished layers
stay in the cache.

Commands that go on until they are interrupted (` + "`--watch`, `--follow`" + `) end with 0 then.

` + "`stella rdev run`" + ` ends with the exit code of the command that it runs, as a shell says it: 128 and the
number of the signal that ended it, so 137 where the kernel killed it for want of memory. 124, as of
timeout(1), is that its time was over. What goes wrong before the command runs, or keeps its end from being
known, is 125 and not 1 or 4, so that those are the command's; a wrong command line is 2. Where the
reader of standard output goes away, the command is cancelled, and the code is 141. After Ctrl-C it is 130 if
the command was cancelled, and else the command's own.

` + "`stella doctor`" + ` ends with 0 when nothing failed, also where checks warn or could not tell;
its result says so.
`

// docsWidth is how wide the usage in the reference is.
const docsWidth = 100

// markdownReference writes the help of all commands as Markdown.
func markdownReference(w io.Writer) error {
	root := newRoot(&app{stdout: w, console: &console{w: w}, getenv: func(string) string { return "" }})
	if _, err := io.WriteString(w, referenceIntro); err != nil {
		return err
	}
	return referenceOf(w, root)
}

func referenceOf(w io.Writer, cmd *cobra.Command) error {
	var usage strings.Builder
	cmd.InitDefaultHelpFlag()
	if err := writeUsage(&usage, cmd, docsWidth); err != nil {
		return err
	}
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	if _, err := fmt.Fprintf(w, "\n## %s\n\n```text\n%s\n\n%s```\n", cmd.CommandPath(), long, trimLines(usage.String())); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue // help topics have documents of their own
		}
		if err := referenceOf(w, c); err != nil {
			return err
		}
	}
	return nil
}

// trimLines takes the spaces off the ends of lines, which pflag leaves when it wraps.
func trimLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

const referenceIntro = `# Commands

This is the help of all commands, made from ` + "`internal/cli`" + ` by ` + "`make docs`" + `; a test
compares the two. How commands end is in [exit-codes.md](exit-codes.md).

Environment: ` + "`DOCKER_CONFIG`" + ` names the directory with registry credentials, ` + "`TMPDIR`" + ` the
directory for temporary files, ` + "`XDG_CACHE_HOME`" + ` the parent of the cache,
` + "`SOURCE_DATE_EPOCH`" + ` the time that documents state, ` + "`NO_COLOR`" + ` turns colours off.
` + "`STELLA_SERVER`" + ` names the scanner service, ` + "`STELLA_API_KEY`" + ` is the key for it;
` + "`STELLA_AGENT`" + ` names the agent. ` + "`STELLA_RDEV`" + ` names the rdev-api, ` + "`STELLA_RDEV_KEY`" + ` is the key for
it, and ` + "`STELLA_RDEV_PROJECT`" + ` names a project of it.
`

// markdownConfiguration writes the settings of the scanner service as Markdown. The
// count of workers depends on the machine, so no default of it is a figure.
func markdownConfiguration(w io.Writer) error {
	defaults := scanner.DefaultSettings()
	settings, err := defaults.Describe("")
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, configurationIntro); err != nil {
		return err
	}
	for _, s := range settings {
		value := s.Default
		switch {
		case s.Key == "worker.count":
			value = "the processors, 16 at most"
		case value == "":
			value = "none"
		}
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s | %s | %s |\n", s.Key, value, s.Range, yesNo(s.Restart), s.Doc); err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, configurationEnd)
	return err
}

const configurationIntro = `# Settings of the scanner service

The settings are kept in the service's database, count for all servers that share
it, and change while it runs:

` + "```" + `
stella scanner config list
stella scanner config get worker.memory_limit
stella scanner config set worker.memory_limit 8Gi
stella scanner config unset worker.memory_limit
` + "```" + `

The table is made from ` + "`internal/scanner/settings.go`" + ` by ` + "`make docs`" + `, and a test compares
the two. *Restart* says that workers use a new value only after
` + "`stella scanner workers restart`" + `; the others count for what begins after the change.

| key | default | allowed | restart | what it does |
|---|---|---|---|---|
`

const configurationEnd = `
Sizes are written as in Kubernetes: ` + "`64Mi`" + ` is 64 × 2²⁰ bytes, ` + "`1G`" + ` is 10⁹. A value that is not
allowed is refused with the key, the problem and what is allowed, and changes nothing.

Pools other than ` + "`default`" + ` are no settings: ` + "`stella scanner workers add --pool large-images --memory 16Gi --count 2`" + `
makes one, and ` + "`stella scanner workers remove --pool large-images`" + ` removes it.
`
