package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/incident"
)

// defaultIncidents is more than people look at, and less than 100 KiB.
const defaultIncidents = 100

// incidentsList is "stella incidents list".
type incidentsList struct {
	app    *app
	from   *incidentFlags
	format string
	filter incident.Filter
	source string
	last   span
	bare   bool
}

func newIncidentsList(a *app, f *incidentFlags) *cobra.Command {
	c := &incidentsList{app: a, from: f, format: "table", filter: incident.Filter{Limit: defaultIncidents}}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List incidents: whose memory ran out, how far it is, how many kills, and why",
		Long: `List incidents, newest first.

STATE is open, applied (a remedy, of which it is not known yet whether it holds), not_held, held or
closed; the last two are ends. KILLS is how many processes were killed, and CAUSE why, as far as it
was explained. -o wide has more columns.

` + incidentsHelp,
		Example: `  stella incidents list --state going
  stella incidents list -n kured --last 7d -o wide
  stella incidents list -o json | jq '.[] | select(.kills > 100)'`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	states := incidentStates()
	flags.StringVar(&c.filter.State, "state", "", "only those in this `state`: "+listText(states))
	complete(cmd, "state", states...)
	flags.Var(&c.last, "last", "only those of which something was told in so much time, such as 24h or 7d")
	flags.StringVarP(&c.filter.Namespace, "namespace", "n", "", "only those in this `namespace`")
	flags.StringVar(&c.filter.Name, "name", "", "only those of the workload, pod or container of this `name`")
	flags.StringVar(&c.source, "source", "", "only those that were opened by this `source`: "+listText(incidentSources()))
	complete(cmd, "source", incidentSources()...)
	flags.IntVar(&c.filter.Limit, "limit", c.filter.Limit, fmt.Sprintf("at most so many `incidents`, 1 to %d", incident.MaxList))
	addFormat(cmd, &c.format, nameFormats)
	addNoHeaders(flags, &c.bare)
	f.add(flags)
	return cmd
}

func incidentStates() []string {
	all := []string{incident.Going, incident.AllEnded}
	for _, s := range incident.States {
		all = append(all, string(s))
	}
	return all
}

func incidentSources() (all []string) {
	for _, s := range incident.Sources {
		all = append(all, string(s))
	}
	return all
}

// check finds what is wrong with the flags.
func (c *incidentsList) check(cmd *cobra.Command) error {
	if err := checkFormat(cmd, c.format, nameFormats); err != nil {
		return err
	}
	for _, f := range []struct {
		flag, value string
		known       []string
	}{{"state", c.filter.State, incidentStates()}, {"source", c.source, incidentSources()}} {
		if f.value != "" && !slices.Contains(f.known, f.value) {
			return usagef(cmd, "--%s %s: choose %s%s", f.flag, f.value, listText(f.known), didYouMean(f.value, f.known))
		}
	}
	if c.filter.Limit < 1 || c.filter.Limit > incident.MaxList {
		return usagef(cmd, "--limit %d: must be 1 to %d", c.filter.Limit, incident.MaxList)
	}
	return nil
}

func (c *incidentsList) run(cmd *cobra.Command, _ []string) error {
	if err := c.check(cmd); err != nil {
		return err
	}
	now := time.Now()
	if c.last > 0 {
		c.filter.Since = now.Add(-time.Duration(c.last))
	}
	c.filter.Source = incident.Source(c.source)
	return c.from.ask(cmd.Context(), c.app, func(ctx context.Context, k keeper) error {
		all, err := k.Incidents(ctx, c.filter)
		if err != nil {
			return err
		}
		switch {
		case len(all) == 0:
			c.app.note("no such incidents")
			if c.format != "json" && c.format != "yaml" {
				return nil
			}
		case len(all) == c.filter.Limit:
			c.app.note("these are the newest %s; --limit shows more", countOf(int64(len(all)), "incident"))
		}
		return c.app.show(c.format, list(all), c.text(all, now))
	})
}

// text writes incidents for people, or their IDs.
func (c *incidentsList) text(all []incident.Incident, now time.Time) func(io.Writer) error {
	if c.format == "name" {
		return writeNames(all, func(in *incident.Incident) string { return in.ID })
	}
	r := incidentsRows(all, now, c.format == "wide")
	r.bare = c.bare
	return c.app.table(c.format, r)
}

// incidentsRows are incidents for people.
func incidentsRows(all []incident.Incident, now time.Time, wide bool) *rows {
	head := []string{"ID", "STATE", "SUBJECT", "AGE", "KILLS", "LAST", "LIMIT", "CAUSE"}
	if wide {
		head = append(head, "SURE", "PEAK", "SOURCE", "OPENED", "ENDED", "EVENTS", "WORKLOAD", "POD", "NODE", "IMAGE", "CGROUP")
	}
	r := newRows(2, head...)
	for i := range all {
		in := &all[i]
		s := &in.Subject
		cells := []string{in.ID, string(in.State), s.Name, since(now, in.Opened), fmt.Sprint(in.Kills), since(now, in.Last), limitWords(in.Limit), causeWords(in.Cause)}
		if wide {
			sure := ""
			if in.Cause != "" {
				sure = fmt.Sprintf("%.0f %%", 100*in.Confidence)
			}
			cells = append(cells, sure, memoryText(in.Peak), string(in.Source), timeText(in.Opened), timeText(in.Ended), fmt.Sprint(in.Events), s.Workload, s.Pod, s.Node, s.Image, s.Cgroup)
		}
		r.add(cells...)
	}
	return r
}

// limitWords is a limit, and whose it is.
func limitWords(l incident.Limit) string {
	return strings.TrimSpace(memoryText(l.Bytes) + " (" + l.Scope + ")")
}

func causeWords(cause string) string { return strings.ReplaceAll(cause, "_", " ") }
