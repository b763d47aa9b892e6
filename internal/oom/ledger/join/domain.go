package join

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"stella/internal/oom"
)

// Domain is what is known of the counter of one cgroup, or of the node. Total and the rest belong
// together: what the counter tells beyond Total is new.
type Domain struct {
	Path string `json:"path,omitempty"`
	ID   uint64 `json:"id,omitempty"`
	// Total is the counter's value as it was told last.
	Total int64 `json:"total"`
	// Told says that it was told at all.
	Told bool `json:"told,omitempty"`
	// Ahead is how many kills are in the ledger that it has not told of.
	Ahead int64 `json:"ahead,omitempty"`
	// Claims are the kills that it told of and no entry explains. One of Ahead and Claims is empty.
	Claims []Claim `json:"claims,omitempty"`
	// Before is how many kills it had at first sight that no entry explains. They are nobody's
	// business, but they can tell where older lines belong. BaseAt is when that was.
	Before int64     `json:"before,omitempty"`
	BaseAt time.Time `json:"base_at,omitzero"`
	// Born is a time before which the cgroup was not there; zero is not known.
	Born time.Time `json:"born,omitzero"`
}

// maxClaims bounds the claims of one counter. More are made one, over the whole time.
const maxClaims = 16

// Claim is what a counter told and no entry explains: N kills after Since, at Time at the latest.
type Claim struct {
	N           int64     `json:"n"`
	Since       time.Time `json:"since,omitzero"`
	Time        time.Time `json:"time"`
	LimitCgroup string    `json:"limit_cgroup,omitempty"`
	Limit       int64     `json:"limit,omitempty"`
	// Below says that they can have been in a cgroup below, Gone that they were.
	Below bool `json:"below,omitempty"`
	Gone  bool `json:"gone,omitempty"`

	heard     time.Time
	pulled    time.Time // when kills were last looked for elsewhere
	processes []oom.Process
}

// domain is a Domain in use.
type domain struct {
	Domain
	at    time.Time // of Total
	based time.Time // when BaseAt was told
	limit oom.Limit // that fired last for a kill in it, as the log or the counter said
	mixed bool      // several did
	used  time.Time // when something was told of it
	stale bool      // it is from an earlier run, and nobody asked for it in this one
	gone  time.Time // when it was said to be removed
	dirty bool
}

func (d *domain) restore(now time.Time, s Domain) {
	d.Domain = s
	d.Claims = slices.Clone(s.Claims)
	d.used, d.based, d.stale = now, now, true
	for i := range d.Claims {
		d.Claims[i].heard = now
	}
	if d.BaseAt.After(now) {
		d.BaseAt = time.Time{} // the clock was set back: it would call everything old
	}
}

// owed is how many kills are claimed.
func (d *domain) owed() (n int64) {
	for i := range d.Claims {
		n += d.Claims[i].N
	}
	return n
}

// old reports whether a kill of that time, which was heard of then, was counted before the counter was seen first. Where
// it was heard of before that by the clock, the clock was set back, and tells nothing.
func (d *domain) old(at, heard time.Time) bool {
	return !d.BaseAt.IsZero() && !at.After(d.BaseAt) && !heard.Round(0).Before(d.BaseAt)
}

// unborn reports whether the cgroup was not there yet when a process was killed: it was heard of before, or was killed before by more than clocks
// differ. Where it was heard of later, and the clock says earlier, the clock was set back, and tells nothing.
func (d *domain) unborn(it *item) bool {
	if d.Born.IsZero() || it.heard.Before(d.Born) {
		return !d.Born.IsZero()
	}
	return it.at.Before(d.Born.Add(-slackBusy)) && !it.heard.Round(0).Before(d.Born.Round(0))
}

// claim adds a claim.
func (d *domain) claim(c Claim) {
	if len(d.Claims) == maxClaims {
		a, b := d.Claims[0], &d.Claims[1]
		b.N += a.N
		if a.Since.Before(b.Since) {
			b.Since = a.Since
		}
		b.Below, b.Gone = a.Below || b.Below, a.Gone && b.Gone
		d.Claims = slices.Delete(d.Claims, 0, 1)
	}
	d.Claims = append(d.Claims, c)
	d.dirty = true
}

// take uses up to n of the claim with that index.
func (d *domain) take(i int, n int64) int64 {
	c := &d.Claims[i]
	n = min(n, c.N)
	c.N -= n
	if c.N == 0 {
		d.Claims = slices.Delete(d.Claims, i, i+1)
	}
	d.dirty = true
	return n
}

// fits reports whether a kill can be one that the claim tells of; the times may be wrong by slack.
func (c *Claim) fits(at time.Time, slack time.Duration) bool {
	return !at.After(c.Time.Add(slack)) && (c.Since.IsZero() || at.After(c.Since.Add(-slack)))
}

// apart is by how much a time is outside of the claim's.
func (c *Claim) apart(at time.Time) time.Duration {
	return max(at.Sub(c.Time), c.Since.Sub(at), 0)
}

// The slacks: how far a line and its counter are apart on an idle machine, and on a very busy one.
const (
	slack     = 20 * time.Millisecond
	slackBusy = time.Second
)

// best is the claim that a kill fits best: the first that ended after it. -1 is none.
func (d *domain) best(at time.Time, below bool) int {
	for _, s := range []time.Duration{slack, slackBusy} {
		best := -1
		for i := range d.Claims {
			c := &d.Claims[i]
			if c.Below == below && c.fits(at, s) && (best < 0 || c.Time.Before(d.Claims[best].Time)) {
				best = i
			}
		}
		if best >= 0 {
			return best
		}
	}
	return -1
}

// domain returns what is known of a cgroup, and begins to if it must.
func (j *Joiner) domain(now time.Time, path string) *domain {
	d := j.domains[path]
	if d == nil {
		for len(j.domains) >= maxDomains || len(j.domains) > 0 && j.paths+len(path) > maxPaths {
			j.evict()
		}
		d = &domain{Domain: Domain{Path: path}}
		j.domains[path] = d
		j.paths += len(path)
	}
	d.used, d.dirty, j.dirty = now, true, true
	return d
}

// evict forgets the cgroup of which nothing was told for the longest time, if possible one that claims nothing.
func (j *Joiner) evict() {
	var oldest *domain
	for _, d := range j.domains {
		if oldest == nil || len(d.Claims) == 0 && len(oldest.Claims) > 0 ||
			(len(d.Claims) == 0) == (len(oldest.Claims) == 0) && d.used.Before(oldest.used) {
			oldest = d
		}
	}
	j.forget(oldest)
	j.incomplete, j.watched = true, false
}

// forget forgets a cgroup.
func (j *Joiner) forget(d *domain) {
	delete(j.domains, d.Path)
	j.paths -= len(d.Path)
	j.dirty = true
}

// above calls fn with a path and all above it, until fn says false.
func above(path string, fn func(path string) bool) {
	for path != "" && fn(path) && path != "/" {
		i := strings.LastIndexByte(path, '/')
		path = path[:max(i, 0)]
		if i == 0 {
			path = "/"
		}
	}
}

// within reports whether the path is the cgroup's or below it. The empty cgroup is the node.
func within(path, cgroup string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(cgroup, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// sorted are the cgroups that a condition chooses, those below before those above.
func (j *Joiner) sorted(ok func(*domain) bool) []*domain {
	var all []*domain
	for _, d := range j.domains {
		if ok(d) {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *domain) int {
		if n := cmp.Compare(strings.Count(b.Path, "/"), strings.Count(a.Path, "/")); n != 0 {
			return n
		}
		return cmp.Compare(a.Path, b.Path)
	})
	return all
}

// claims reports whether its counter claims kills.
func (d *domain) claims() bool { return len(d.Claims) > 0 }

// state is what has to be remembered, of the cgroups those that keep chooses.
func (j *Joiner) state(keep func(*domain) bool) State {
	s := State{
		Boot: j.o.Boot, Position: j.position, Next: j.next, Node: j.node.export(),
		Complete: j.watched, Incomplete: j.incomplete, Lost: j.lost,
	}
	for _, d := range j.domains {
		if keep(d) {
			s.Cgs = append(s.Cgs, d.export())
		}
	}
	slices.SortFunc(s.Cgs, func(a, b Domain) int { return cmp.Compare(a.Path, b.Path) })
	return s
}

// State is all that has to be remembered. If it has more than some bytes of cgroups, those that claim nothing and of which
// nothing was told for the longest time are forgotten.
func (j *Joiner) State(most int) State {
	size, idle := 0, 0
	for _, d := range j.domains {
		size += d.size()
		if len(d.Claims) == 0 {
			idle++
		}
	}
	for ; size > most && idle > 0; idle-- {
		size -= size / len(j.domains)
		j.evict()
	}
	return j.state(func(*domain) bool { return true })
}

// size is about what a cgroup takes in a State.
func (d *domain) size() int { return len(d.Path) + 200 + 256*len(d.Claims) }

// export copies what is kept.
func (d *domain) export() Domain {
	e := d.Domain
	e.Claims = slices.Clone(d.Claims)
	return e
}
