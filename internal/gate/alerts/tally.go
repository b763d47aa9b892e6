package alerts

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/gate"
)

// tally counts the alerts of one answer. What it keeps does not grow with their number.
type tally struct {
	options Options
	rules   []*rule
	now     time.Time

	all, suppressed, own, blocking int
	watchdog                       bool
	// names are the first of those that block, in the order of their texts: so they stay the same from look to look.
	names []string
	// ignored is what each rule did, by its index.
	ignored []ignored
}

// ignored is how many alerts a rule ignored, and the name of the first.
type ignored struct {
	alerts int
	first  string
}

func (n ignored) String() string {
	if n.alerts == 1 {
		return printable(n.first)
	}
	return fmt.Sprintf("%s and %d more", printable(n.first), n.alerts-1)
}

func newTally(o Options, rules []*rule, now time.Time) *tally {
	return &tally{options: o, rules: rules, now: now, ignored: make([]ignored, len(rules))}
}

func (t *tally) add(a *alert) {
	t.all++
	if a.name() == t.options.Watchdog {
		t.watchdog = t.watchdog || a.state != pending
		return
	}
	switch {
	case a.state == suppressed:
		t.suppressed++
		return
	case a.state == pending && !t.options.Pending:
		return
	case a.labels[OwnLabel] == OwnValue:
		t.own++
		return
	}
	for i, r := range t.rules {
		if r.ignores(a.labels, t.now) {
			if t.ignored[i].alerts++; t.ignored[i].alerts == 1 {
				t.ignored[i].first = a.name()
			}
			return
		}
	}
	t.blocking++
	text := a.String()
	if i, found := slices.BinarySearch(t.names, text); i < gate.MaxNames && !found {
		t.names = slices.Insert(t.names, i, text)
		t.names = t.names[:min(len(t.names), gate.MaxNames)]
	}
}

func (t *tally) result() gate.Result {
	if !t.watchdog {
		r := gate.CannotTell(ReasonNoWatchdog, fmt.Errorf("among %d alerts there is no %s, which always fires: rules are not evaluated, or their alerts do not arrive", t.all, printable(t.options.Watchdog)))
		r.Clears = "the alert " + printable(t.options.Watchdog) + " firing"
		return r
	}
	told, count := t.told()
	if t.blocking == 0 {
		what := "no alert fires but " + printable(t.options.Watchdog)
		if count > 0 {
			what = fmt.Sprintf("%d firing, all ignored", count)
		}
		return gate.Passed("%s", strings.Join(append([]string{what}, told...), "; "))
	}
	clears := "their end"
	if t.options.IgnoreFile != "" {
		clears += ", or a rule in " + t.options.IgnoreFile + " that ignores them until a date"
	}
	what := fmt.Sprintf("%d firing: %s", t.blocking, t.names[0])
	if t.blocking > 1 {
		what += fmt.Sprintf(" and %d more", t.blocking-1)
	}
	r := gate.Blocked(ReasonFiring, clears, "%s", strings.Join(append([]string{what}, told...), "; "))
	r.Blockers = t.names
	return r
}

// told says what else there is: what was ignored by which rule, which is also counted, what was suppressed, and which rules have lapsed.
func (t *tally) told() (parts []string, count int) {
	lapsed, last := 0, time.Time{}
	for i, r := range t.rules {
		if r.lapsed(t.now) {
			lapsed++
			if r.until.After(last) {
				last = r.until
			}
		}
		n := t.ignored[i]
		if count += n.alerts; n.alerts > 0 && len(parts) < gate.MaxNames {
			parts = append(parts, n.String()+" ignored by "+r.String())
		}
	}
	if t.suppressed > 0 {
		parts = append(parts, fmt.Sprintf("%d silenced or inhibited", t.suppressed))
	}
	if t.own > 0 {
		parts = append(parts, fmt.Sprintf("%d about the gate itself (%s=%q)", t.own, OwnLabel, OwnValue))
	}
	switch {
	case lapsed == 1:
		parts = append(parts, "1 rule lapsed on "+last.UTC().Format(time.RFC3339))
	case lapsed > 1:
		parts = append(parts, fmt.Sprintf("%d rules lapsed, the last on %s", lapsed, last.UTC().Format(time.RFC3339)))
	}
	return parts, count
}
