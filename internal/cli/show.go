package cli

import (
	"fmt"
	"io"
)

// tableFormats are the formats of a list that a server answers with; wide is the
// table with more columns.
var tableFormats = []string{"table", "wide", "json", "yaml"}

// textFormats are the formats of one thing that a server answers with.
var textFormats = []string{"text", "json", "yaml"}

// show writes a value to standard output: as JSON or YAML, or by text for people.
func (a *app) show(format string, v any, text func(io.Writer) error) error {
	write := text
	switch format {
	case "json":
		write = func(w io.Writer) error { return writeJSON(w, v) }
	case "yaml":
		write = func(w io.Writer) error { return writeYAML(w, v) }
	}
	return a.result(write)
}

// showAgain writes one of many values, as JSON or YAML. Other than that of show, its error says that
// the reader went away, so that there need not be another one.
func (a *app) showAgain(format string, v any) error {
	return buffered(a.stdout, func(w io.Writer) error {
		if format == "json" {
			return writeJSON(w, v)
		}
		if _, err := io.WriteString(w, "---\n"); err != nil {
			return err
		}
		return writeYAML(w, v)
	})
}

// table writes rows to standard output, as wide as the terminal there; wide asks
// for all of them, as wide as they are.
func (a *app) table(format string, r *rows) func(io.Writer) error {
	width := a.resultWidth()
	if format == "wide" {
		width = 0
	}
	return func(w io.Writer) error { return r.write(w, width, a.console.glyphs().ellipsis) }
}

// note says something on standard error, in one line, unless --quiet was given.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.console, "stella: %s\n", oneLine(fmt.Sprintf(format, args...)))
	}
}

// warn is note for what needs attention.
func (a *app) warn(warnings ...string) {
	for _, w := range warnings {
		a.note("warning: %s", w)
	}
}

// list is v, but never nil: JSON has [] for nothing, not null.
func list[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}
