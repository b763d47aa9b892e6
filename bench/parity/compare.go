package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
)

// difference is a package that one of two tools has.
type difference struct {
	*found
	missing bool  // theirs, and not ours; else ours, and not theirs
	rule    *rule // nil where nothing explains it
}

// comparison is Stella against one peer, on one image.
type comparison struct {
	tool         string
	ours, theirs list
	// oursAt and theirsAt are the same by place.
	oursAt, theirsAt map[string][]*found
	differences      []difference
}

func compare(tool string, ours, theirs list) *comparison {
	c := &comparison{tool: tool, ours: ours, theirs: theirs, oursAt: ours.at(), theirsAt: theirs.at()}
	for _, key := range slices.Sorted(maps.Keys(theirs)) {
		if ours[key] == nil {
			c.add(difference{found: theirs[key], missing: true})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(ours)) {
		if theirs[key] == nil {
			c.add(difference{found: ours[key]})
		}
	}
	return c
}

func (c *comparison) add(d difference) {
	for i := range rules {
		if rules[i].explains(c, &d) {
			d.rule = &rules[i]
			break
		}
	}
	c.differences = append(c.differences, d)
}

// others are the packages that the other tool has in a place.
func (c *comparison) others(d *difference, place string) []*found {
	if d.missing {
		return c.oursAt[place]
	}
	return c.theirsAt[place]
}

func (c *comparison) unexplained() (n int) {
	for _, d := range c.differences {
		if d.rule == nil {
			n++
		}
	}
	return n
}

// print writes counts by type, then by class, then the differences.
func (c *comparison) print(w io.Writer, all bool) {
	fmt.Fprintf(w, "%s: %d packages, Stella: %d\n", c.tool, len(c.theirs), len(c.ours))
	type row struct{ ours, theirs, missing, extra int }
	rows := map[string]*row{}
	at := func(kind string) *row {
		if rows[kind] == nil {
			rows[kind] = &row{}
		}
		return rows[kind]
	}
	for _, f := range c.ours {
		at(f.kind()).ours++
	}
	for _, f := range c.theirs {
		at(f.kind()).theirs++
	}
	classes := map[string]int{}
	for _, d := range c.differences {
		if d.missing {
			at(d.kind()).missing++
		} else {
			at(d.kind()).extra++
		}
		classes[d.class()]++
	}
	fmt.Fprintf(w, "  %-10s %8s %8s %12s %10s\n", "type", "Stella", c.tool, "only "+c.tool, "only ours")
	for _, kind := range slices.Sorted(maps.Keys(rows)) {
		r := rows[kind]
		fmt.Fprintf(w, "  %-10s %8d %8d %12d %10d\n", kind, r.ours, r.theirs, r.missing, r.extra)
	}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		fmt.Fprintf(w, "  %6d  %s\n", classes[class], class)
	}
	for _, d := range c.differences {
		if all || d.rule == nil {
			fmt.Fprintf(w, "  %s %s  [%s]  %v\n", d.sign(), d.key, d.class(), d.places[:min(2, len(d.places))])
		}
	}
}

func (d *difference) class() string {
	if d.rule == nil {
		return "UNEXPLAINED"
	}
	return d.sign() + " " + d.kind() + ": " + cmp.Or(d.rule.class, "?")
}

// sign is "-" for what Stella lacks, "+" for what only Stella has.
func (d *difference) sign() string {
	if d.missing {
		return "-"
	}
	return "+"
}
