//go:build linux

package main

import (
	"flag"
	"fmt"
	"strings"
)

// defaultName is how lines begin, and what the kernel takes from the name of the file.
const defaultName = "hog"

// helpText is the error of a parse that was asked for help.
type helpText string

// Error is the text.
func (t helpText) Error() string { return string(t) }

// overview is the help of hog.
func overview() helpText {
	var b strings.Builder
	b.WriteString(`hog misbehaves on purpose, within bounds, so that tests can watch it.

Usage:
  hog MODE [ARGUMENTS] [FLAGS]

Modes:
`)
	for _, m := range modes {
		fmt.Fprintf(&b, "  %-13s %s\n", m.name, m.about)
	}
	b.WriteString(`
SIZE is in bytes, or in Ki, Mi or Gi (64Mi), at most 16Gi; memory comes in whole pages.
TIME has a unit (500ms, 5s, 1m30s). Every step is one line on standard output.

Exit codes: 0 after SIGTERM, SIGINT or the time given, 1 failure, 2 misuse, or the one asked for.

Use "hog MODE --help" for the flags of a mode.
`)
	return helpText(b.String())
}

// help is the help of a mode.
func (p *parameters) help(m mode) helpText {
	var b strings.Builder
	fmt.Fprintf(&b, "hog %s: %s.\n", m.name, m.about)
	if m.more != "" {
		fmt.Fprintf(&b, "\n%s\n", m.more)
	}
	fmt.Fprintf(&b, "\nUsage:\n  hog %s", m.name)
	for _, a := range p.arguments {
		b.WriteString(" " + a.name)
	}
	b.WriteString(" [FLAGS]\n\nFlags:\n")
	p.flags.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "  %-21s %s", strings.TrimSpace("--"+f.Name+" "+value), usage)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(&b, " (default %s)", f.DefValue)
		}
		b.WriteString("\n")
	})
	return helpText(b.String())
}
