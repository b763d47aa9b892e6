package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
	"stella/internal/oom/ledger"
)

// noon is when what tests look at is now.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// past is a history that a test makes. Its containers are by cgroup.
type past struct {
	now     time.Time
	running map[string]*oom.Container
	ended   []oom.Usage
	born    map[string]time.Time // when each cgroup began to grow
	kills   []oom.Kill
	reads   int // of the journal
}

const (
	// grows is by how much each grows in a second, in bytes, and full its limit: 10 minutes from its birth.
	grows = 1 << 20
	full  = 600 * grows
)

func (p *past) used(cgroup string, at time.Time) int64 {
	return min(int64(at.Sub(p.born[cgroup]).Seconds())*grows, full)
}

func (p *past) Rising(share float64) (out []oom.Usage) {
	for cgroup, c := range p.running {
		if used := p.used(cgroup, p.now); float64(used) >= share*full {
			out = append(out, oom.Usage{Cgroup: cgroup, Container: *c, Started: p.born[cgroup], Trend: 60 * grows, Sample: oom.Sample{WorkingSet: used, Limit: full}})
		}
	}
	return out
}

func (p *past) Gone() []oom.Usage { return p.ended }

func (p *past) Counts() map[string]ledger.Count {
	counts := map[string]ledger.Count{}
	for _, k := range p.kills {
		counts[k.Cgroup] = ledger.Count{Kills: counts[k.Cgroup].Kills + 1, Last: k.Time}
	}
	return counts
}

func (p *past) Kills(f oom.Filter) []oom.Kill {
	p.reads++
	return slices.Clone(p.kills)
}

func (p *past) Series(cgroup string) (out []oom.Sample) {
	until := p.now
	for _, u := range p.ended {
		if u.Cgroup == cgroup {
			until = u.Gone
		}
	}
	for at := p.born[cgroup]; at.Before(until); at = at.Add(time.Second) {
		used := p.used(cgroup, at)
		out = append(out, oom.Sample{Time: at, Usage: used, WorkingSet: used, Anon: used, Limit: full, CPU: at.Sub(p.born[cgroup]) / 2})
	}
	return out
}

// rounds looks until a time, as run does.
func (p *past) rounds(o *outlooks, until time.Time) {
	for ; p.now.Before(until); p.now = p.now.Add(explain.WarnEvery) {
		o.round(p.now)
	}
}

func TestOutlook(t *testing.T) {
	web := &oom.Container{Namespace: "shop", Pod: "web-1", PodUID: "u", Name: "app"}
	p := &past{now: noon, running: map[string]*oom.Container{"/first": web}, born: map[string]time.Time{"/first": noon}}
	var log bytes.Buffer
	o := newOutlooks(p, slog.New(slog.NewTextHandler(&log, nil)))
	var announced []warning
	o.announce = func(w warning) { announced = append(announced, w) }
	forecasts := func() (n int, last *explain.Forecast) {
		o.each(func(_ oom.Container, _ string, f *explain.Forecast, _ bool) { n, last = n+1, f })
		return n, last
	}
	p.rounds(o, noon.Add(4*time.Minute))
	if n, _ := forecasts(); n != 0 || log.Len() > 0 {
		t.Errorf("below half of the limit there are %d forecasts: %s", n, &log)
	}
	p.rounds(o, noon.Add(9*time.Minute))
	_, f := forecasts()
	if f == nil || f.At.Sub(noon.Add(10*time.Minute)).Abs() > 10*time.Second || o.warned() != 1 {
		t.Fatalf("%d warnings; the forecast is %+v", o.warned(), f)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "pod=web-1") || !strings.Contains(text, `next="stella explain /first"`) {
		t.Errorf("the log says %s", text)
	}
	if got := o.before("/first", noon); len(announced) != 1 || len(got) != 1 || got[0] != announced[0] || !strings.HasPrefix(got[0].text, "Its memory limit of 600 MiB is reached in ") {
		t.Errorf("announced %+v, kept %+v", announced, got)
	}
	if got := append(o.before("/second", noon), o.before("/first", p.now)...); got != nil {
		t.Errorf("warnings of another cgroup, or of later: %+v", got)
	}
	if p.reads > 0 {
		t.Error("the journal is read of what was never killed")
	}

	// It is killed, and starts again in another cgroup: what was before says where it goes.
	killed := noon.Add(10 * time.Minute)
	p.kills = []oom.Kill{{ID: "1", Time: killed, Cgroup: "/first", Limit: oom.Limit{Scope: oom.ScopeContainer, Bytes: full}, Container: *web}}
	p.ended = []oom.Usage{{Cgroup: "/first", Container: *web, Gone: killed}, {Cgroup: "/other", Gone: killed}}
	p.running, p.born["/second"] = map[string]*oom.Container{"/second": web}, killed.Add(time.Second)
	p.now = killed
	p.rounds(o, killed.Add(6*time.Minute))
	if _, f := forecasts(); f == nil || f.Lives != 1 || o.warned() != 2 || p.reads != 1 {
		t.Errorf("%d warnings, %d reads of the journal; the forecast is %+v", o.warned(), p.reads, f)
	}
	// It is given a new version, and is gone.
	p.running = nil
	p.rounds(o, p.now.Add(time.Minute))
	if n, _ := forecasts(); n != 0 || len(o.all) != 0 {
		t.Errorf("%d forecasts are left, and %d outlooks", n, len(o.all))
	}
}

// The warnings that are kept for incidents are bounded, the newest.
func TestPastIsBounded(t *testing.T) {
	o := newOutlooks(&past{}, slog.New(slog.DiscardHandler))
	for i := range 3 * maxPast {
		at := noon.Add(time.Duration(i) * time.Minute)
		o.take(map[string]*outlook{fmt.Sprint("/", i): {warned: true, forecast: &explain.Forecast{At: at}}}, at)
	}
	if newest := fmt.Sprint("/", 3*maxPast-1); len(o.past) != maxPast || len(o.before(newest, noon)) != 1 || o.before("/0", time.Time{}) != nil {
		t.Errorf("%d warnings are kept", len(o.past))
	}
}

// Of many that grow, those that are full first are looked at, and what is kept does not grow with them.
func TestOutlooksAreBounded(t *testing.T) {
	p := &past{now: noon.Add(9 * time.Minute), running: map[string]*oom.Container{}, born: map[string]time.Time{}}
	for i := range 500 {
		cgroup := fmt.Sprintf("/c%03d", i)
		p.running[cgroup], p.born[cgroup] = &oom.Container{}, noon.Add(time.Duration(i)*time.Second/4)
	}
	o := newOutlooks(p, slog.New(slog.DiscardHandler))
	p.rounds(o, p.now.Add(30*time.Second))
	o.each(func(_ oom.Container, cgroup string, _ *explain.Forecast, _ bool) {
		if cgroup >= "/c016" {
			t.Errorf("%s is looked at", cgroup)
		}
	})
	if len(o.all) != maxOutlooks || o.warned() != maxOutlooks {
		t.Errorf("%d outlooks and %d warnings, want %d", len(o.all), o.warned(), maxOutlooks)
	}
}

// A round as large as it gets, of ten minutes of samples of each second: it comes each [explain.WarnEvery].
func BenchmarkOutlooks(b *testing.B) {
	p := &past{now: noon.Add(9 * time.Minute), running: map[string]*oom.Container{}, born: map[string]time.Time{}}
	for i := range maxOutlooks {
		cgroup := fmt.Sprintf("/c%03d", i)
		p.running[cgroup], p.born[cgroup] = &oom.Container{}, noon
	}
	o := newOutlooks(p, slog.New(slog.DiscardHandler))
	for b.Loop() {
		o.round(p.now)
	}
}
