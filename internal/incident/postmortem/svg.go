package postmortem

import (
	"bufio"
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/incident"
)

// The picture, in pixels.
const (
	width, height            = 960, 440
	left, right, top, bottom = 84, 24, 64, 84
	plotWidth, plotHeight    = width - left - right, height - top - bottom
	// maxTicks bounds those of an axis.
	maxTicks = 7
	// maxMarks bounds the remedies that are numbered in the picture; the part "Fix" has all.
	maxMarks = 30
)

// style has colours that can be told from each other on light and on dark, also by those who do not see red and green alike.
const style = `
    svg { --ink: #24292f; --faint: #8c959f; --paper: #ffffff; }
    @media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --faint: #6e7681; --paper: #0d1117; } }
    .paper { fill: #ffffff; fill: var(--paper); }
    text { font: 12px system-ui, sans-serif; fill: #24292f; fill: var(--ink); }
    .title { font-size: 15px; font-weight: 600; }
    .grid { stroke: #8c959f; stroke: var(--faint); stroke-width: .5; stroke-dasharray: 2 3; }
    .axis { stroke: #24292f; stroke: var(--ink); }
    .anon { fill: #4c8dd6; } .shmem { fill: #9a6dd7; } .file { fill: #b7c0c9; } .kernel { fill: #e0a030; }
    .need { fill: none; stroke: #24292f; stroke: var(--ink); stroke-width: 1.5; }
    .limit { fill: none; stroke: #d1570b; stroke-width: 2; stroke-dasharray: 8 4; }
    .kill { stroke: #cf222e; stroke-width: 1; stroke-opacity: .85; } .killed { fill: #cf222e; }
    .doing { stroke: #1a7f37; stroke-width: 1.5; stroke-dasharray: 4 3; } .done { fill: #1a7f37; }
`

// part is a kind of memory, drawn above the ones before.
type part struct {
	class, name string
	of          func(*incident.Sample) int64
}

var parts = []part{
	{"anon", "anonymous", func(s *incident.Sample) int64 { return s.Anon }},
	{"shmem", "tmpfs and shared", func(s *incident.Sample) int64 { return s.Shmem }},
	{"kernel", "kernel and sockets", func(s *incident.Sample) int64 { return s.Kernel }},
	{"file", "page cache", func(s *incident.Sample) int64 { return s.File }},
}

// picture knows where times and amounts are.
type picture struct {
	*bufio.Writer
	*PostMortem
	from, to time.Time
	top      int64 // bytes
}

func (p *picture) x(t time.Time) float64 {
	return left + plotWidth*max(0, min(1, t.Sub(p.from).Seconds()/p.to.Sub(p.from).Seconds()))
}

func (p *picture) y(n int64) float64 {
	return top + plotHeight*(1-min(1, float64(n)/float64(p.top)))
}

// SVG draws the memory against the limit over time, with the kills and what was done. It needs nothing from outside.
func (p *PostMortem) SVG(w io.Writer) error {
	d := &picture{Writer: bufio.NewWriter(w), PostMortem: p, top: 1 << 20}
	d.from, d.to = p.span()
	for i := range p.samples {
		s := &p.samples[i]
		d.top = max(d.top, s.Limit, s.Usage, s.WorkingSet, s.Anon+s.Shmem+s.Kernel+s.File)
	}
	d.top = max(d.top, min(p.Limit.Bytes, most), min(p.Peak, most))
	d.top += d.top / 10
	title := fmt.Sprintf("Memory of %s", plain(p.name()))
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" aria-labelledby="title desc">`+"\n", width, height, width, height)
	fmt.Fprintf(d, "  <title id=\"title\">%s</title>\n  <desc id=\"desc\">%s, from %s to %s</desc>\n  <style>%s  </style>\n", escape(title), countOf(p.Kills, "kill"), moment(d.from), moment(d.to), style)
	fmt.Fprintf(d, `  <rect class="paper" width="%d" height="%d"/>`+"\n", width, height)
	d.text(left, 24, `class="title"`, shorten(title, 100))
	d.axes()
	d.memory()
	d.limits()
	d.marks()
	fmt.Fprintln(d, "</svg>")
	return d.Flush()
}

func (p *picture) text(x, y float64, attributes, s string) {
	fmt.Fprintf(p, `  <text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, escape(s))
}

// escape makes a text one of XML.
func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(plain(s))) // a Builder has no errors
	return b.String()
}

func shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// steps are between two ticks of time.
var steps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour,
}

func (p *picture) axes() {
	step := int64(1 << 20)
	for p.top/step >= maxTicks {
		step *= 2
	}
	for n := int64(0); n <= p.top; n += step {
		y := p.y(n)
		fmt.Fprintf(p, `  <line class="grid" x1="%d" y1="%.1f" x2="%d" y2="%.1f"/>`+"\n", left, y, width-right, y)
		p.text(left-8, y+4, `text-anchor="end"`, bytesize.Text(n))
	}
	span := p.to.Sub(p.from)
	each := steps[len(steps)-1]
	if i := slices.IndexFunc(steps, func(d time.Duration) bool { return span/d < maxTicks }); i >= 0 {
		each = steps[i]
	}
	each = max(each, span/maxTicks)
	form := "15:04:05"
	switch {
	case span > 24*time.Hour:
		form = "Jan 2 15:04"
	case each >= time.Minute:
		form = "15:04"
	}
	for t := p.from.UTC().Truncate(each).Add(each); !t.After(p.to); t = t.Add(each) {
		x := p.x(t)
		fmt.Fprintf(p, `  <line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", x, top, x, height-bottom)
		p.text(x, height-bottom+18, `text-anchor="middle"`, t.Format(form))
	}
	fmt.Fprintf(p, `  <path class="axis" fill="none" d="M%d %dV%dH%d"/>`+"\n", left, top, height-bottom, width-right)
	p.text(left-8, top-12, `text-anchor="end"`, "memory")
	p.text(width-right, height-bottom+34, `text-anchor="end"`, "time (UTC), "+p.from.UTC().Format(time.DateOnly))
}

// lives are the samples without gaps: where there are none for long, as the picture shows it and as often as they were taken, nothing is drawn.
func (p *picture) lives() (all [][]incident.Sample) {
	const pixels, often = 24, 5
	var between []time.Duration
	for i := 1; i < len(p.samples); i++ {
		between = append(between, p.samples[i].Time.Sub(p.samples[i-1].Time))
	}
	gap := p.to.Sub(p.from) * pixels / plotWidth
	if slices.Sort(between); len(between) > 0 {
		gap = max(gap, often*between[len(between)/2])
	}
	begin := 0
	for i := 1; i <= len(p.samples); i++ {
		if i == len(p.samples) || p.samples[i].Time.Sub(p.samples[i-1].Time) > gap {
			all = append(all, p.samples[begin:i])
			begin = i
		}
	}
	return all
}

// memory draws the kinds above each other, as far as they are known, and the working set as a line.
func (p *picture) memory() {
	x := float64(left)
	legend := func(shape, name string) {
		fmt.Fprintf(p, `  <g transform="translate(%.0f %d)">%s</g>`+"\n", x, height-18, shape)
		p.text(x+20, height-8, "", name)
		x += 36 + 6.6*float64(len(name))
	}
	for i, part := range parts {
		if !slices.ContainsFunc(p.samples, func(s incident.Sample) bool { return part.of(&s) > 0 }) {
			continue
		}
		for _, life := range p.lives() {
			p.area(part.class, life, i)
		}
		legend(fmt.Sprintf(`<rect class="%s" width="14" height="10"/>`, part.class), part.name)
	}
	for _, life := range p.lives() {
		var d strings.Builder
		for i := range life {
			fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], p.x(life[i].Time), p.y(life[i].WorkingSet))
		}
		fmt.Fprintf(p, `  <path class="need" d="%s"/>`+"\n", d.String())
	}
	if len(p.samples) == 0 {
		p.text(left+plotWidth/2, top+plotHeight/2, `text-anchor="middle"`, "no samples are known")
	} else {
		legend(`<path class="need" d="M0 5H14"/>`, "working set")
	}
	legend(`<path class="limit" d="M0 5H14"/>`, "limit")
	legend(`<path class="kill" d="M7 0V10"/><circle class="killed" cx="7" cy="2" r="3"/>`, "kill")
	if len(p.doings) > 0 {
		legend(`<path class="doing" d="M7 0V10"/><circle class="done" cx="7" cy="2" r="3"/>`, "what was done")
	}
}

// area draws one kind above those before it.
func (p *picture) area(class string, life []incident.Sample, n int) {
	var d strings.Builder
	for i := range life {
		fmt.Fprintf(&d, "%c%.1f %.1f", "ML"[min(i, 1)], p.x(life[i].Time), p.y(below(&life[i], n+1)))
	}
	for i := len(life) - 1; i >= 0; i-- {
		fmt.Fprintf(&d, "L%.1f %.1f", p.x(life[i].Time), p.y(below(&life[i], n)))
	}
	fmt.Fprintf(p, `  <path class="%s" d="%sZ"/>`+"\n", class, d.String())
}

// below is the sum of the first kinds.
func below(s *incident.Sample, n int) (sum int64) {
	for _, part := range parts[:n] {
		sum += part.of(s)
	}
	return sum
}

// limits draws the limit over time: as the samples say, else as the events do.
func (p *picture) limits() {
	type step struct {
		at time.Time
		n  int64
	}
	var all []step
	for i := range p.samples {
		all = append(all, step{p.samples[i].Time, p.samples[i].Limit})
	}
	for i := range p.Timeline {
		if e := &p.Timeline[i]; e.Limit != nil && (len(p.samples) == 0 || e.Time.After(p.samples[len(p.samples)-1].Time)) {
			all = append(all, step{e.Time, min(e.Limit.Bytes, most)})
		}
	}
	slices.SortStableFunc(all, func(a, b step) int { return a.at.Compare(b.at) })
	var d strings.Builder
	last := int64(0)
	for i, s := range all {
		at := s.at
		if i == 0 {
			at = p.from // it did not begin with the first look
		}
		switch {
		case s.n <= 0 && last > 0:
			fmt.Fprintf(&d, "H%.1f", p.x(at))
		case s.n > 0 && last <= 0:
			fmt.Fprintf(&d, "M%.1f %.1f", p.x(at), p.y(s.n))
		case s.n != last:
			fmt.Fprintf(&d, "H%.1fV%.1f", p.x(at), p.y(s.n))
		}
		last = s.n
	}
	if d.Len() == 0 {
		return
	}
	if last > 0 {
		fmt.Fprintf(&d, "H%d", width-right)
		p.text(width-right-4, p.y(last)-5, `text-anchor="end"`, "limit "+bytesize.Text(last))
	}
	fmt.Fprintf(p, `  <path class="limit" d="%s"/>`+"\n", d.String())
}

// marks draws kills, together where they are at the same place, and what was done, with its number in the part "Fix".
func (p *picture) marks() {
	at := map[int][]kill{}
	var places []int
	for _, k := range p.kills {
		x := int(p.x(k.Time))
		if at[x] == nil {
			places = append(places, x)
		}
		at[x] = append(at[x], k)
	}
	for _, x := range places {
		here := at[x]
		n := int64(0)
		for _, k := range here {
			n += k.n
		}
		title := moment(here[0].Time) + ": " + cmp.Or(here[0].Text, "killed")
		if n > 1 {
			title = fmt.Sprintf("%s until %s: %s", moment(here[0].Time), moment(here[len(here)-1].Time), countOf(n, "kill"))
		}
		fmt.Fprintf(p, `  <g><title>%s (%s)</title><line class="kill" x1="%d" y1="%d" x2="%d" y2="%d"/><circle class="killed" cx="%d" cy="%d" r="%.1f"/></g>`+"\n",
			escape(shorten(title, 300)), escape(here[0].ID), x, top, x, height-bottom, x, top, min(3+float64(n)/4, 8))
	}
	written := 0.0 // where the last number is
	for i, e := range p.doings[:min(len(p.doings), maxMarks)] {
		x := p.x(e.Time)
		fmt.Fprintf(p, `  <g><title>%s: %s: %s (%s)</title><line class="doing" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><circle class="done" cx="%.1f" cy="%d" r="4"/></g>`+"\n",
			moment(e.Time), escape(strings.ReplaceAll(string(e.Kind), "_", " ")), escape(shorten(e.Text, 300)), escape(e.ID), x, top-14, x, height-bottom, x, top-14)
		if x-written >= 14 { // numbers on each other would not be read
			p.text(x, top-20, `text-anchor="middle"`, fmt.Sprint(i+1))
			written = x
		}
	}
}
