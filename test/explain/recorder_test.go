package explain

import (
	"slices"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// A leak is played for real: its memory is in the samples, its kill is found with what the kernel logged, and it is started again.
func TestPlay(t *testing.T) {
	s := &scene{cause: explain.Leak, length: 5 * time.Minute, limit: 48 * mib, scope: oom.ScopeContainer}
	s.script = anon(s.limit, rise(0.1, 1.1, 2*time.Minute))
	r, err := newLab(t).play(s)
	if err != nil {
		t.Fatal(err)
	}
	in := r.Input
	if len(in.Starts) < 2 || len(in.Kills) != len(in.Starts)-1 && len(in.Kills) != len(in.Starts) {
		t.Fatalf("%d starts and %d kills", len(in.Starts), len(in.Kills))
	}
	k := in.Kills[0]
	if k.Limit.Bytes != s.limit || k.Process.Comm != "app" || k.MainSurvived == nil || *k.MainSurvived {
		t.Errorf("the kill is %+v", k)
	}
	if since := k.Time.Sub(in.Starts[0]); since < time.Minute || since > 4*time.Minute {
		t.Errorf("it was killed after %v", since)
	}
	before := slices.IndexFunc(in.Samples, func(s oom.Sample) bool { return !s.Time.Before(k.Time) })
	if before < 10 {
		t.Fatalf("%d samples before the kill, of %d", before, len(in.Samples))
	}
	if last := in.Samples[before-1]; last.Anon < s.limit*6/10 || last.Limit != s.limit || len(last.Top) == 0 || last.Top[0].Comm != "app" {
		t.Errorf("the last sample before the kill is %+v", last)
	}
}
