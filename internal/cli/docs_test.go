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
)

var update = flag.Bool("update", false, "write the documents instead of comparing them")

// What is made from the code must be what is in docs/.
func TestDocs(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"../../docs/exit-codes.md": markdownExitCodes,
		"../../docs/cli.md":        markdownReference,
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
	for _, c := range []ExitCode{ExitOK, ExitFailed, ExitUsage, ExitPolicy, ExitAuth, ExitPartial, ExitMemory, ExitInterrupted} {
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

Every command of ` + "`stella`" + ` ends with one of these. The table is made from
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
`
