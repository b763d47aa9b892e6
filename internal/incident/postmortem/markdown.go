package postmortem

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/explain"
	"stella/internal/incident"
)

// people marks what only people can write.
const people = "*to be written by people:*"

// Markdown writes the post-mortem. Picture is the address of the picture, beside the file or as data.
func (p *PostMortem) Markdown(w io.Writer, picture string) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "# Post-mortem: %s ran out of memory\n\n", text(p.name()))
	p.fields(b)
	fmt.Fprintf(b, "\n## Summary\n\n%s\n\n![Memory of %s against its limit, with the kills](%s)\n", p.summary(), text(p.name()), picture)
	p.cause(b)
	items(b, "Why hard to spot", p.hidden(), "Nothing of what is known was hidden: a restart, or a line of the log, shows each kill.")
	p.fix(b)
	items(b, "Contributing items", p.contributing(), "None is known.")
	fmt.Fprintf(b, "\n## Lessons\n\n1. %s What would have shown it earlier?\n2. %s What keeps it from happening again, here and elsewhere?\n3. %s What went well?\n", people, people, people)
	p.timeline(b)
	return b.Flush()
}

func (p *PostMortem) name() string { return cmp.Or(p.Subject.Name, "an unknown workload") }

// items writes a part that is a list, or what is said where it is empty.
func items(w io.Writer, title string, all []string, none string) {
	fmt.Fprintf(w, "\n## %s\n\n", title)
	if len(all) == 0 {
		fmt.Fprintln(w, none)
	}
	for _, item := range all {
		fmt.Fprintf(w, "- %s\n", item)
	}
}

func (p *PostMortem) fields(w io.Writer) {
	fmt.Fprint(w, "| Field | Value |\n|-------|-------|\n")
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "| **%s** | %s |\n", name, value)
		}
	}
	s := &p.Subject
	row("Date", cmp.Or(p.First, p.Opened).UTC().Format(time.DateOnly))
	row("Duration", p.duration())
	row("Severity", people+" whom did it hurt, and how much?")
	var affected []string
	for _, f := range [][2]string{{"namespace", s.Namespace}, {"workload", s.Workload}, {"pod", s.Pod}, {"container", s.Container}, {"image", s.Image}, {"node", s.Node}, {"cgroup", s.Cgroup}} {
		if f[1] != "" {
			affected = append(affected, f[0]+" "+text(f[1]))
		}
	}
	row("Affected", cmp.Or(strings.Join(affected, ", "), text(p.name())))
	row("Limit", p.limit())
	row("Status", p.status())
	row("Incident", fmt.Sprintf("%s, opened by the source %s; %s", text(p.ID), text(string(p.Source)), countOf(int64(p.Events), "event")))
}

func (p *PostMortem) duration() string {
	if p.First.IsZero() {
		return "no kill; opened " + moment(p.Opened)
	}
	out := fmt.Sprintf("kills from %s to %s (%s)", moment(p.First), moment(p.Last), length(p.Last.Sub(p.First)))
	if !p.Ended.IsZero() {
		out += fmt.Sprintf(", ended %s (%s after the first)", moment(p.Ended), length(p.Ended.Sub(p.First)))
	}
	return out
}

// scopes say whose limit it is.
var scopes = map[string]string{
	"container": "the container's", "pod": "the pod's", "parent": "a cgroup's above", "cgroup": "its cgroup's", "node": "none of a cgroup: the node had no memory left", "cpuset": "none of a cgroup: the NUMA nodes had no memory left",
}

// fired is the limit that fired, in words.
func (p *PostMortem) fired() (words string, bytes int64) {
	words = "a limit that is not known"
	for i := range p.Timeline {
		e := &p.Timeline[i]
		if e.Kind != incident.Opened || e.Limit == nil {
			continue
		}
		words, bytes = cmp.Or(scopes[e.Limit.Scope], plain(e.Limit.Scope)), e.Limit.Bytes
		if bytes > 0 {
			words = fmt.Sprintf("%s (%s)", bytesize.Text(bytes), words)
		}
	}
	return words, bytes
}

func (p *PostMortem) limit() string {
	words, bytes := p.fired()
	if p.Limit.Bytes != bytes && p.Limit.Bytes > 0 {
		words += "; now " + bytesize.Text(p.Limit.Bytes)
	}
	return text(words)
}

// states say what a state means.
var states = map[incident.State]string{
	incident.Open: "open: nothing was done yet", incident.Applied: "a remedy was applied; whether it holds is not known yet", incident.NotHeld: "a remedy was applied, and did not hold",
	incident.Held: "fixed: a remedy was applied, and held", incident.Closed: "closed by a person",
}

func (p *PostMortem) status() string { return cmp.Or(states[p.State], text(string(p.State))) }

func (p *PostMortem) summary() string {
	var b strings.Builder
	switch p.Kills {
	case 0:
		fmt.Fprintf(&b, "No process of %s is known to have been killed for want of memory.", text(p.name()))
	case 1:
		fmt.Fprintf(&b, "The kernel killed a process of %s for want of memory on %s (%s).", text(p.name()), moment(p.First), links(p.killEvents()))
	default:
		fmt.Fprintf(&b, "The kernel killed %d processes of %s for want of memory between %s and %s (%s).", p.Kills, text(p.name()), moment(p.First), moment(p.Last), links(p.killEvents()))
	}
	if p.Peak > 0 {
		fmt.Fprintf(&b, " It used %s at most.", bytesize.Text(p.Peak))
	}
	if p.report != nil {
		f := &p.report.Findings[0]
		fmt.Fprintf(&b, " Most likely cause: **%s** (%.0f %%): %s (%s)", causeText(f.Cause), 100*f.Confidence, text(f.Summary), link(p.told))
	}
	return b.String()
}

func (p *PostMortem) killEvents() (ids []string) {
	for _, k := range p.kills {
		ids = append(ids, k.ID)
	}
	return ids
}

func causeText(c explain.Cause) string { return text(strings.ReplaceAll(string(c), "_", " ")) }

// cause is the chain from what was the matter to what people saw, and the evidence.
func (p *PostMortem) cause(w io.Writer) {
	fmt.Fprint(w, "\n## Root cause (chain)\n\n```\n")
	var chain []string
	if p.report != nil {
		chain = append(chain, fenced(p.report.Findings[0].Summary))
	} else {
		chain = append(chain, "not explained yet; stella explain "+fenced(p.ID))
	}
	if p.Kills > 0 {
		fired, _ := p.fired()
		chain = append(chain, fenced(fired)+" fired: "+countOf(p.Kills, "process")+" killed")
	}
	if n, _ := p.survived(); n > 0 {
		chain = append(chain, "the first process lived on, so nothing restarted and the kills went on unseen")
	}
	chain = append(chain, fenced(p.status()))
	fmt.Fprintf(w, "%s\n```\n", strings.Join(chain, "\n        │\n        ▼\n"))
	if p.report == nil {
		return
	}
	for i := range p.report.Findings {
		f := &p.report.Findings[i]
		if i > 0 && len(f.For)+len(f.Against) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n**%s** (%.0f %%), as explained in %s:\n\n", causeText(f.Cause), 100*f.Confidence, link(p.told))
		p.evidence(w, "for", f.For)
		p.evidence(w, "against", f.Against)
	}
	if len(p.report.Collect) > 0 {
		fmt.Fprint(w, "\nWhat would tell more:\n\n")
		for _, c := range p.report.Collect {
			fmt.Fprintf(w, "- %s\n", text(c))
		}
	}
}

func (p *PostMortem) evidence(w io.Writer, side string, all []explain.Evidence) {
	for _, e := range all {
		fmt.Fprintf(w, "- %s: %s", side, text(e.Text))
		if !e.From.IsZero() {
			fmt.Fprintf(w, " (%s to %s)", moment(e.From), moment(e.To))
		}
		if id := p.event(e.Kill); id != "" {
			fmt.Fprintf(w, " (%s)", link(id))
		}
		fmt.Fprintln(w)
	}
}

// fix is what was done, and what was proposed.
func (p *PostMortem) fix(w io.Writer) {
	fmt.Fprint(w, "\n## Fix\n\n")
	if len(p.doings) == 0 {
		fmt.Fprintln(w, "Nothing was done yet.")
	}
	for i, e := range p.doings {
		fmt.Fprintf(w, "%d. **%s** %s by %s: %s (%s)\n", i+1, kindText(e.Kind), moment(e.Time), text(cmp.Or(e.Actor, "somebody")), text(e.Text), link(e.ID))
	}
	if p.report != nil && p.report.Limit != nil {
		l := p.report.Limit
		fmt.Fprintf(w, "\nThe explanation proposes a limit of %s: %s were seen, and %s are for what was not. %s (%s)\n", bytesize.Text(l.Bytes), bytesize.Text(l.Seen), bytesize.Text(l.Headroom), text(l.Reason), link(p.told))
	}
	if p.report != nil && p.report.Known != nil {
		k := p.report.Known
		fmt.Fprintf(w, "\nA known issue fits: %s. %s. Remedy: %s. Source: %s (%s)\n", text(k.Title), text(k.Match), text(k.Remedy), text(k.Source), link(p.told))
	}
}

// contributing is what else speaks for itself: other causes, and what changed.
func (p *PostMortem) contributing() (all []string) {
	if p.report != nil {
		for i := range p.report.Findings[1:] {
			f := &p.report.Findings[1+i]
			all = append(all, fmt.Sprintf("%s (%.0f %%): %s (%s)", causeText(f.Cause), 100*f.Confidence, text(f.Summary), link(p.told)))
		}
	}
	for i := range p.Timeline {
		e := &p.Timeline[i]
		if slices.Contains([]incident.Kind{incident.Changed, incident.Warned, incident.Profiled}, e.Kind) {
			all = append(all, fmt.Sprintf("%s %s: %s (%s)", kindText(e.Kind), moment(e.Time), text(e.Text), link(e.ID)))
		}
	}
	return all
}

// timeline is every event, in a table; links lead to its rows.
func (p *PostMortem) timeline(w io.Writer) {
	fmt.Fprintf(w, "\n## Timeline\n\nAll times are UTC. What an event was taken from is in its data: `stella incidents show %s -o json`.\n\n| Time | Event | Kind | Who | What |\n|------|-------|------|-----|------|\n", fenced(p.ID))
	for i := range p.Timeline {
		e := &p.Timeline[i]
		id := ""
		if incident.ValidID(e.ID) {
			id = fmt.Sprintf(`<a id="event-%s"></a>%s`, e.ID, strings.ReplaceAll(e.ID, "_", "\\_"))
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", e.Time.UTC().Format("2006-01-02 15:04:05"), id, kindText(e.Kind), text(e.Actor), text(e.Text))
	}
}

func kindText(k incident.Kind) string { return text(strings.ReplaceAll(string(k), "_", " ")) }

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// length is a duration for people.
func length(d time.Duration) string {
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%.1f days", d.Hours()/24)
}

// countOf is a count with its thing.
func countOf(n int64, thing string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(thing, "s"):
		thing += "es"
	default:
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
