package cli

import (
	"fmt"
	"strings"

	"stella/internal/scan/inventory"
)

// maxProblems is how many problems are shown; the documents hold them all.
const maxProblems = 10

// partialError says that the result was written but is incomplete.
type partialError struct {
	count int
	// problems is empty where a service made the result: it tells how many there are.
	problems []inventory.Problem
}

// partial is nil where there are no problems.
func partial(problems []inventory.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	return &partialError{len(problems), problems}
}

func (e *partialError) Error() string {
	return fmt.Sprintf("the result is partial: %s in the image could not be read", countOf(int64(e.count), "place"))
}

// details lists the problems, one on each line.
func (e *partialError) details(most int) string {
	var b strings.Builder
	for i, p := range e.problems {
		if i == most {
			fmt.Fprintf(&b, "  and %d more; -v lists all, and so does every document\n", len(e.problems)-i)
			break
		}
		b.WriteString("  ")
		if p.Layer >= 0 {
			fmt.Fprintf(&b, "layer %d: ", p.Layer)
		}
		if p.Path != "" {
			fmt.Fprintf(&b, "%s: ", printable(p.Path))
		}
		b.WriteString(printable(p.Reason))
		if p.Extractor != "" {
			fmt.Fprintf(&b, " (%s)", p.Extractor)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
