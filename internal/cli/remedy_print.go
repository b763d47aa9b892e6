package cli

import (
	"fmt"
	"io"
	"strings"

	"stella/internal/bytesize"
	"stella/internal/remedy"
)

// planText writes a plan for people. Names and texts in it come from clusters and kernels.
type planText struct {
	*remedy.Plan
	asked string // by which name it was asked for
}

func (p *planText) write(w io.Writer) error {
	f := newFields(w)
	f.line("Plan", p.ID)
	f.line("For", p.Subject.Name)
	f.line("Container", p.Subject.Container)
	f.line("Workload", p.Subject.Workload)
	f.line("Incident", p.Incident)
	f.line("Cause", fmt.Sprintf("%s (%.0f %%): %s", causeText(p.Cause), 100*p.Confidence, p.Summary))
	if p.Limit > 0 {
		f.line("Limit now", bytesize.Text(p.Limit))
	}
	if err := f.flush(); err != nil {
		return err
	}
	ours := 0
	for i := range p.Steps {
		s := &p.Steps[i]
		fmt.Fprintf(w, "\nStep %d: %s\n", s.N, oneLine(s.What))
		writeStep(w, s)
		if s.Ours() && ours == 0 {
			ours = s.N
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintln(w, "\nNote: "+oneLine(n))
	}
	if ours > 0 {
		fmt.Fprintf(w, "\nNothing was changed. To try a step on the server:\n  stella remedy plan %s -o json > plan.json\n  stella remedy apply plan.json --step %d\n", quoteIfOdd(p.asked), ours)
	}
	return nil
}

// writeStep writes what is to know of a step.
func writeStep(w io.Writer, s *remedy.Step) {
	by := "a person"
	if s.Ours() {
		by = "stella, when it is approved"
	}
	fmt.Fprintf(w, "  Kind: %s, by %s\n", strings.ReplaceAll(string(s.Kind), "_", " "), by)
	fmt.Fprintf(w, "  Why:  %s\n", oneLine(s.Why))
	fmt.Fprintf(w, "  Risk: %s. %s\n", s.Risk.Level, oneLine(s.Risk.Text))
	fmt.Fprintf(w, "  Back: %s\n", oneLine(s.Undo))
	for _, c := range s.Conflicts {
		fmt.Fprintf(w, "  Conflict: %s\n", oneLine(c.Text))
	}
	for _, c := range s.Commands {
		block(w, "    $ ", c)
	}
	block(w, "    ", s.Diff)
}

// block writes the lines of a text, the first behind a prefix and the others below it.
func block(w io.Writer, prefix, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintln(w, strings.TrimRight(prefix+printable(strings.TrimSuffix(line, "\n")), " "))
		prefix = strings.Repeat(" ", len(prefix))
	}
}

// write writes what became of a step.
func (a *applied) write(w io.Writer) error {
	step := fmt.Sprintf("step %d of plan %s", a.Step.N, a.Plan)
	switch {
	case a.Back != nil && a.Back.DryRun:
		fmt.Fprintf(w, "The server takes it back: %s. Nothing was changed: add --approve --reason TEXT to have it done.\n", step)
	case a.Back != nil:
		fmt.Fprintf(w, "Taken back: %s, at %s.\n", step, timeText(a.Back.Time))
	case a.Change.DryRun:
		fmt.Fprintf(w, "The server takes it: %s. Nothing was changed: add --approve --reason TEXT to have it done.\n", step)
	default:
		fmt.Fprintf(w, "Made: %s, at %s.\n", step, timeText(a.Change.Time))
	}
	fmt.Fprintf(w, "  %s\n", oneLine(a.Step.What))
	if a.Change != nil && a.Change.DryRun {
		writeStep(w, a.Step)
	}
	if r := a.Reading; r != nil {
		fmt.Fprintf(w, "Read back: %s\n", map[remedy.State]string{remedy.Yes: "in force", remedy.No: "not in force", remedy.Unknown: "could not tell"}[r.State])
		writeChecks(w, r.Checks)
	}
	if v := a.Verdict; v != nil {
		fmt.Fprintf(w, "Verdict: %s (%s to %s)\n", strings.ReplaceAll(string(v.Outcome), "_", " "), timeText(v.Since), timeText(v.Until))
		writeChecks(w, v.Checks)
	}
	return nil
}

func writeChecks(w io.Writer, checks []remedy.Check) {
	marks := map[remedy.State]string{remedy.Yes: "+", remedy.No: "-", remedy.Unknown: "?"}
	for _, c := range checks {
		fmt.Fprintf(w, "  %s %s: %s\n", marks[c.State], oneLine(c.What), oneLine(c.Text))
	}
}

// failure is the error of a result that is not what was wanted; nil is that it is.
func (a *applied) failure(p *remedy.Plan) error {
	back := fmt.Sprintf("to take it back: stella remedy rollback %s --step %d --approve --reason TEXT", p.ID, a.Step.N)
	if a.Back != nil || !a.Step.Reversible() {
		back = "see the audit log"
	}
	switch v, r := a.Verdict, a.Reading; {
	case v != nil && v.Outcome == remedy.DidNotHold:
		return &exitError{ExitPolicy, fmt.Errorf("step %s did not hold; %s", stepOf(p, a.Step), back)}
	case v != nil && v.Outcome == remedy.CannotTell:
		return &exitError{ExitPartial, fmt.Errorf("whether step %s held cannot be told", stepOf(p, a.Step))}
	case v != nil:
		return nil
	case r != nil && r.State == remedy.No:
		return fmt.Errorf("step %s is not in force; %s", stepOf(p, a.Step), back)
	case r != nil && r.State == remedy.Unknown:
		return &exitError{ExitPartial, fmt.Errorf("whether step %s is in force cannot be told", stepOf(p, a.Step))}
	}
	return nil
}

// stepOf names a step.
func stepOf(p *remedy.Plan, s *remedy.Step) string { return fmt.Sprintf("%d of plan %s", s.N, p.ID) }

// showVerdict writes a result that can be a failure, too.
func (a *app) showVerdict(format string, v any, text func(io.Writer) error, failure error) error {
	if err := a.show(format, v, text); err != nil {
		return err
	}
	return failure
}
