package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/explain"
	"stella/internal/incident"
)

// newestEvents are the newest of a timeline; kills before them are counted.
const newestEvents = 30

// incidentsShow is "stella incidents show".
type incidentsShow struct {
	app    *app
	from   *incidentFlags
	format string
	all    bool
}

func newIncidentsShow(a *app, f *incidentFlags) *cobra.Command {
	c := &incidentsShow{app: a, from: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Say everything about one incident: whom, why, what was done, and its timeline",
		Long: `Say everything about one incident: whose memory ran out, how far it is, why, and its timeline. -o json
has what each event was taken from, too.

` + incidentsHelp,
		Example: `  stella incidents show 5f0c1d2e3a4b
  stella incidents show 5f0c1d2e3a4b -o json | jq '.timeline[] | select(.kind == "killed") | .text'`,
		Args:              oneIncident,
		ValidArgsFunction: completeIncidents(a, f),
		RunE:              c.run,
	}
	cmd.Flags().BoolVar(&c.all, "all", false, fmt.Sprintf("show all events, and not the newest %d", newestEvents))
	addFormat(cmd, &c.format, textFormats)
	f.add(cmd.Flags())
	return cmd
}

func (c *incidentsShow) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	return c.from.one(cmd.Context(), c.app, args[0], func(_ context.Context, _ keeper, d incident.Details) error {
		return c.app.show(c.format, d, func(w io.Writer) error { return c.write(w, &d, time.Now()) })
	})
}

func (c *incidentsShow) write(w io.Writer, d *incident.Details, now time.Time) error {
	f := newFields(w)
	s := &d.Subject
	f.line("Incident "+d.ID, s.Name)
	f.line("State", stateText(&d.Incident, now))
	f.line("Opened", momentText(d.Opened, now))
	f.line("Source", string(d.Source))
	f.line("Workload", s.Workload)
	f.line("Pod", s.Pod)
	f.line("Container", s.Container)
	f.line("Image", s.Image)
	f.line("Node", s.Node)
	f.line("Cgroup", s.Cgroup)
	f.line("Limit", limitWords(d.Limit))
	f.line("Peak", memoryText(d.Peak))
	f.line("Kills", killsText(&d.Incident, now))
	if r := newestReport(d); r != nil {
		first := &r.Findings[0]
		f.line("Cause", fmt.Sprintf("%s (%.0f %%): %s", causeText(first.Cause), 100*first.Confidence, first.Summary))
	} else if d.Cause != "" {
		f.line("Cause", fmt.Sprintf("%s (%.0f %%)", causeWords(d.Cause), 100*d.Confidence))
	}
	if err := f.flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := c.timeline(w, d.Timeline); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nGo on with:")
	for _, command := range []string{"stella explain " + d.ID, "stella remedy plan " + d.ID, "stella incidents postmortem " + d.ID + " -o " + d.ID + ".md"} {
		fmt.Fprintln(w, "  "+command)
	}
	return nil
}

// timeline writes the events, the newest last.
func (c *incidentsShow) timeline(w io.Writer, events []incident.Event) error {
	if n := len(events) - newestEvents; n > 0 && !c.all {
		fmt.Fprintf(w, "%s before these; --all shows them\n", countOf(int64(n), "event"))
		events = events[n:]
	}
	r := newRows(3, "TIME", "EVENT", "WHO", "WHAT")
	for i := range events {
		e := &events[i]
		r.add(timeText(e.Time), causeWords(string(e.Kind)), e.Actor, e.Text)
	}
	return r.write(w, c.app.resultWidth(), c.app.console.glyphs().ellipsis)
}

// stateText is how far an incident is.
func stateText(in *incident.Incident, now time.Time) string {
	text := map[incident.State]string{
		incident.Open: "open: nothing was done yet", incident.Applied: "applied: whether the remedy holds is not known yet", incident.NotHeld: "not_held: the remedy did not hold",
		incident.Held: "held: the remedy held", incident.Closed: "closed by a person",
	}[in.State]
	if text == "" {
		text = string(in.State)
	}
	if !in.Ended.IsZero() {
		text += ", " + momentText(in.Ended, now)
	}
	return text
}

// killsText is how many kills there were, and when.
func killsText(in *incident.Incident, now time.Time) string {
	if in.Kills == 0 {
		return "none"
	}
	text := fmt.Sprintf("%d, the last %s", in.Kills, momentText(in.Last, now))
	if in.Kills > 1 {
		text += ", the first " + timeText(in.First)
	}
	return text
}

// newestReport is the newest explanation that this program can read; nil is none.
func newestReport(d *incident.Details) *explain.Report {
	for i := len(d.Timeline) - 1; i >= 0; i-- {
		var r explain.Report
		if e := &d.Timeline[i]; e.Kind == incident.Explained && json.Unmarshal(e.Data, &r) == nil && len(r.Findings) > 0 {
			return &r
		}
	}
	return nil
}
