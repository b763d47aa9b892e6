package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usageError is a mistake on the command line, found before anything was done.
type usageError struct {
	cmd *cobra.Command // whose help explains it; nil where that is not known
	err error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd, fmt.Errorf(format, args...)}
}

// unknownCommand is the Args of a command that only holds others.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usagef(cmd, "%q is not a command of %q%s", args[0], cmd.CommandPath(), didYouMean(args[0], names(cmd.Commands())))
}

// flagError turns what pflag says into a usage error, with the flag that was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return &usageError{cmd, err}
	}
	name := unknown.GetSpecifiedName()
	switch {
	case len(name) == 1 && name[0] >= '0' && name[0] <= '9':
		return usagef(cmd, "-%s reads like a flag; put -- before a value that begins with a dash", name)
	case len(name) == 1:
		return usagef(cmd, "unknown flag -%s", name)
	}
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, "--"+f.Name) })
	return usagef(cmd, "unknown flag --%s%s", name, didYouMean("--"+name, flags))
}

// noArgs is cobra.NoArgs as a usage error.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd, "%q takes no arguments, but got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

func names(cmds []*cobra.Command) []string {
	var all []string
	for _, c := range cmds {
		if c.IsAvailableCommand() || c.Name() == "help" {
			all = append(all, c.Name())
		}
	}
	return all
}

// didYouMean names the nearest of the known words, where one is near enough.
func didYouMean(word string, known []string) string {
	best, least := "", 3 // two slips of the finger; more is guessing
	for _, k := range known {
		d := distance(strings.ToLower(word), k)
		if strings.HasPrefix(k, word) {
			d = min(d, 1)
		}
		if d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
