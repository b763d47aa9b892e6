package agent

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"stella/internal/bytesize"
	"stella/internal/explain"
	"stella/internal/oom"
	"stella/internal/oom/ledger"
)

const (
	// outlookShare is the share of its limit from which on a container that rises is looked at. No warning comes of one below 60 %.
	outlookShare = 0.5
	// maxOutlooks bounds the containers that are looked at in a round of [explain.WarnEvery]: those that would be full first. One takes less than a
	// millisecond, so that all take a thousandth of a core; and each has two series of metrics.
	maxOutlooks = 16
	// maxEarlier bounds the earlier lives that are looked at with one, the newest: explain wants no more.
	maxEarlier = 4
	// maxLookedBack and lookBack bound the kills that end lives: those of the samples that are kept.
	maxLookedBack, lookBack = 64, 2 * time.Hour
	// maxPast bounds the warnings that are kept for incidents to come, at half a KiB each.
	maxPast = 64
)

// history is what outlooks are made of.
type history interface {
	// Rising are the containers that use that share of their limit and more and more, and Gone those that ended.
	Rising(share float64) []oom.Usage
	Gone() []oom.Usage
	Series(cgroup string) []oom.Sample
	Kills(oom.Filter) []oom.Kill
	Counts() map[string]ledger.Count
}

// outlook is what is to come of one container.
type outlook struct {
	container oom.Container
	forecast  *explain.Forecast // nil is none
	warned    bool
	warner    explain.Warner
	// kills are those of its lives, as they were when its cgroups had so many.
	kills   []oom.Kill
	counted ledger.Count
}

// outlooks says of containers that grow towards their limit when they will be there, and warns of it. It is safe for concurrent use.
type outlooks struct {
	from history
	log  *slog.Logger

	// announce tells of a warning elsewhere; nil is nowhere.
	announce func(warning)

	mu       sync.Mutex
	all      map[string]*outlook // by cgroup
	warnings int64
	past     []warning // the newest, at most maxPast
}

// warning is that a container is about to reach its limit.
type warning struct {
	at        time.Time
	cgroup    string
	container oom.Container
	text      string
}

func newOutlooks(from history, log *slog.Logger) *outlooks {
	return &outlooks{from: from, log: log, all: map[string]*outlook{}}
}

// run looks again and again until ctx ends.
func (o *outlooks) run(ctx context.Context) {
	ticker := time.NewTicker(explain.WarnEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			o.round(now)
		}
	}
}

// round looks at those that would be full first.
func (o *outlooks) round(now time.Time) {
	rising := o.from.Rising(outlookShare)
	slices.SortFunc(rising, func(a, b oom.Usage) int {
		return cmp.Or(cmp.Compare(left(&a), left(&b)), cmp.Compare(a.Cgroup, b.Cgroup))
	})
	rising = rising[:min(len(rising), maxOutlooks)]
	next := make(map[string]*outlook, len(rising))
	var gone []oom.Usage
	var counts map[string]ledger.Count
	if len(rising) > 0 {
		gone, counts = o.from.Gone(), o.from.Counts()
	}
	for i := range rising {
		u := &rising[i]
		of := o.all[u.Cgroup] // which nobody else writes
		if of == nil {
			of = &outlook{}
		}
		next[u.Cgroup] = o.look(*of, u, gone, counts, now)
	}
	for _, w := range o.take(next, now) {
		o.log.Warn("a container is about to reach its memory limit", "namespace", w.container.Namespace, "pod", w.container.Pod, "container", w.container.Name,
			"cgroup", w.cgroup, "forecast", w.text, "next", "stella explain "+w.cgroup)
		if o.announce != nil {
			o.announce(w)
		}
	}
}

// take takes the outlooks of a round, and returns the warnings that are new.
func (o *outlooks) take(next map[string]*outlook, now time.Time) (news []warning) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for cgroup, of := range next {
		if was := o.all[cgroup]; of.warned && (was == nil || !was.warned) {
			news = append(news, warning{now, cgroup, of.container, forecastText(of.forecast, now)})
		}
	}
	o.all = next
	o.warnings += int64(len(news))
	o.past = append(o.past, news...)
	o.past = slices.Clone(o.past[max(len(o.past)-maxPast, 0):])
	return news
}

// before are the warnings of a cgroup since a time.
func (o *outlooks) before(cgroup string, since time.Time) (all []warning) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.past {
		if w.cgroup == cgroup && w.at.After(since) {
			all = append(all, w)
		}
	}
	return all
}

// left is in how many minutes a container is full, if it goes on as over the last ones.
func left(u *oom.Usage) float64 {
	return float64(u.Sample.Limit-u.Sample.WorkingSet) / float64(u.Trend)
}

// look makes the next outlook of one container.
func (o *outlooks) look(of outlook, u *oom.Usage, gone []oom.Usage, counts map[string]ledger.Count, now time.Time) *outlook {
	of.container = u.Container
	paths := append(earlier(u, gone), u.Cgroup)
	in := explain.Input{Container: u.Container, Now: now}
	if !u.Started.IsZero() {
		in.Starts = []time.Time{u.Started}
	}
	var counted ledger.Count
	for _, path := range paths {
		in.Samples = append(in.Samples, o.from.Series(path)...)
		counted.Kills += counts[path].Kills
		if last := counts[path].Last; last.After(counted.Last) {
			counted.Last = last
		}
	}
	if counted != of.counted { // the journal is read when there is news alone
		of.counted = counted
		of.kills = slices.DeleteFunc(o.from.Kills(oom.Filter{Since: now.Add(-lookBack), Container: u.Container.Name, Limit: maxLookedBack}),
			func(k oom.Kill) bool { return !slices.Contains(paths, k.Cgroup) })
	}
	in.Kills = of.kills
	of.forecast = explain.Ahead(in)
	of.warned = of.warner.Warns(of.forecast)
	return &of
}

// earlier are the cgroups of the same container of the same pod that ended, the newest ones. Where the cgroup stays the same, its series has all lives.
func earlier(u *oom.Usage, gone []oom.Usage) []string {
	c := &u.Container
	if c.Pod == "" {
		return nil
	}
	var ended []oom.Usage
	for i := range gone {
		g := &gone[i]
		if g.Cgroup != u.Cgroup && g.Container.Namespace == c.Namespace && g.Container.Pod == c.Pod && g.Container.PodUID == c.PodUID && g.Container.Name == c.Name {
			ended = append(ended, *g)
		}
	}
	slices.SortFunc(ended, func(a, b oom.Usage) int { return a.Gone.Compare(b.Gone) })
	var paths []string
	for i := range ended[max(len(ended)-maxEarlier, 0):] {
		paths = append(paths, ended[i].Cgroup)
	}
	return paths
}

// forecastText says a forecast in a sentence.
func forecastText(f *explain.Forecast, now time.Time) string {
	in := func(t time.Time) time.Duration { return max(t.Sub(now), 0).Round(time.Second) }
	text := fmt.Sprintf("Its memory limit of %s is reached in %v, at the earliest in %v, if it grows on by %s an hour.", bytesize.Text(f.Limit), in(f.At), in(f.Earliest), bytesize.Text(f.PerHour))
	if f.Lives > 0 {
		text += fmt.Sprintf(" %d earlier lives went this way.", f.Lives)
	}
	return text
}

// each calls fn for those that have a forecast.
func (o *outlooks) each(fn func(c oom.Container, cgroup string, f *explain.Forecast, warned bool)) {
	o.mu.Lock()
	all := o.all // a round makes another one
	o.mu.Unlock()
	for cgroup, of := range all {
		if of.forecast != nil {
			fn(of.container, cgroup, of.forecast, of.warned)
		}
	}
}

// warned is how many warnings there were.
func (o *outlooks) warned() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.warnings
}
