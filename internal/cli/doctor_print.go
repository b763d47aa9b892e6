package cli

import (
	"fmt"
	"io"
	"strings"

	"stella/internal/doctor"
)

// stateColors are the colours of states, for terminals.
var stateColors = map[doctor.State]string{doctor.OK: "\x1b[32m", doctor.Warn: "\x1b[33m", doctor.Unknown: "\x1b[35m", doctor.Fail: "\x1b[31m"}

// writeDoctor writes a report for people: what is well in one line, the rest with all that is known.
func writeDoctor(w io.Writer, r *doctor.Report, color bool) error {
	var b strings.Builder
	width := len(doctor.Unknown)
	for _, c := range r.Checks {
		state := fmt.Sprintf("%-*s", width, c.State)
		if color {
			state = stateColors[c.State] + state + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s  %s (%s): %s\n", state, printable(c.ID), oneLine(c.Title), oneLine(c.Summary))
		if c.State == doctor.OK {
			continue
		}
		line := func(key, value string) {
			if value != "" {
				fmt.Fprintf(&b, "%*s  %-9s %s\n", width, "", key+":", oneLine(value))
			}
		}
		for _, e := range c.Evidence {
			line("evidence", evidenceText(e))
		}
		line("cause", c.Cause)
		for _, f := range c.Fix {
			line("fix", f)
		}
		line("verify", c.Verify)
		line("runbook", c.Runbook)
	}
	fmt.Fprintf(&b, "\n%s: %s\n", countOf(int64(len(r.Checks)), "check"), statesText(r))
	_, err := io.WriteString(w, b.String())
	return err
}

// evidenceText is one fact for people.
func evidenceText(e doctor.Evidence) string {
	return fmt.Sprintf("%s: %s (%s)", e.What, strings.TrimSpace(e.Value+" "+e.Unit), e.Source)
}

// statesText counts checks by what they found.
func statesText(r *doctor.Report) string {
	counts := map[doctor.State]int64{}
	for _, c := range r.Checks {
		counts[c.State]++
	}
	return countsText(doctor.States, counts)
}

// doctorRows are checks in a table.
func doctorRows(r *doctor.Report) *rows {
	rows := newRows(2, "CHECK", "STATE", "FOUND", "FIX")
	for _, c := range r.Checks {
		rows.add(c.ID, string(c.State), c.Summary, strings.Join(c.Fix, " && "))
	}
	return rows
}

// writeDoctorMarkdown writes a report for a ticket.
func writeDoctorMarkdown(w io.Writer, r *doctor.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Stella doctor: %s\n\n%s, %s: %s.\n\n| check | state | found |\n|---|---|---|\n",
		r.State, timeText(r.At), countOf(int64(len(r.Checks)), "check"), statesText(r))
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", markdown(c.ID), c.State, markdown(c.Summary))
	}
	for _, c := range r.Checks {
		if c.State != doctor.OK {
			writeFindingMarkdown(&b, &c)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func writeFindingMarkdown(b *strings.Builder, c *doctor.Result) {
	fmt.Fprintf(b, "\n## %s: %s\n\n%s: %s\n", markdown(c.Title), c.State, markdown(c.ID), markdown(c.Summary))
	if len(c.Evidence) > 0 {
		b.WriteString("\n| evidence | value | source |\n|---|---|---|\n")
		for _, e := range c.Evidence {
			fmt.Fprintf(b, "| %s | %s | %s |\n", markdown(e.What), markdown(strings.TrimSpace(e.Value+" "+e.Unit)), markdown(e.Source))
		}
	}
	if c.Cause != "" {
		fmt.Fprintf(b, "\nLikely cause: %s\n", markdown(c.Cause))
	}
	if len(c.Fix) > 0 {
		fmt.Fprintf(b, "\nTo fix it:\n\n```sh\n%s\n```\n", oneLines(c.Fix))
	}
	if c.Verify != "" {
		fmt.Fprintf(b, "\nTo see whether that helped:\n\n```sh\n%s\n```\n", oneLines([]string{c.Verify}))
	}
	if c.Runbook != "" {
		fmt.Fprintf(b, "\nRunbook: %s\n", markdown(c.Runbook))
	}
}

// oneLines are commands as code, one on each line, that cannot end the code.
func oneLines(commands []string) string {
	var lines []string
	for _, c := range commands {
		lines = append(lines, strings.ReplaceAll(oneLine(c), "```", "` ` `"))
	}
	return strings.Join(lines, "\n")
}

var markdownSpecial = strings.NewReplacer(`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "<", "&lt;", "[", `\[`, "#", `\#`)

// markdown is text that stays text in Markdown: it can come from an image.
func markdown(s string) string { return markdownSpecial.Replace(oneLine(s)) }
