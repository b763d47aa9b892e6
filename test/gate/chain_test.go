package gate

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
)

// The chain of events that the gate was built after: three alerts that have nothing to do with the node fire for days, and it does not reboot. Now somebody is told which; a
// rule that ignores them opens the gate; and when the rule lapses it shuts again. Meanwhile the memory stays as it is.
func TestUnrelatedAlerts(t *testing.T) {
	t.Parallel()
	const days = 5 * 24 * time.Hour
	unrelated := []string{"NodeFilesystemFull", "PVCStuckPending", "SynologyBackupFull"}
	d := start(t, 1)
	d.set(wish{Fire: unrelated})
	o := d.options(0)
	o.Period, o.Delay, o.Every = 20*time.Second, 40*time.Second, 10*time.Millisecond
	write(t, o.Raw, "")
	wanted := time.Now().Add(-days)
	if err := os.Chtimes(o.Raw, wanted, wanted); err != nil {
		t.Fatal(err)
	}
	p := cycles(t, o, nil)
	s := p.sample(500, 50)
	if growth, chance := grown(s.resident); chance < significant && growth > mostGrowth || p.usage().Peak > mostMemory {
		t.Errorf("memory: %.0f", s.resident)
	}

	v := d.verdict(0, time.Time{})
	blocking := v.Blocking()
	if v.Open || there(o.Gated) || len(blocking) != 1 || blocking[0].Check != "alerts" || blocking[0].Outcome != gate.Block || len(blocking[0].Blockers) != len(unrelated) {
		t.Fatalf("%+v", v)
	}
	text := p.metrics()
	for i, name := range unrelated {
		if !strings.HasPrefix(blocking[0].Blockers[i], name+"{") || !strings.Contains(text, `blocker="`+name+"{") {
			t.Errorf("%s is not named in %q, or in the metrics", name, blocking[0].Blockers)
		}
	}
	if pending := p.metric("stella_gate_reboot_pending_seconds"); pending < days.Seconds() {
		t.Errorf("it has been pending for %v s", pending)
	}
	if !v.Pending.Round(time.Second).Equal(wanted.Round(time.Second)) {
		t.Errorf("it has been pending since %v", v.Pending)
	}

	until := time.Now().Add(8 * time.Second).Truncate(time.Second).Add(time.Second)
	d.ignore(`alertname=~"Routine.+|`+strings.Join(unrelated, "|")+`"`, until)
	eventually(t, "the gate opens by the rule", func() bool { return there(o.Gated) })
	if now := time.Now(); now.After(until) {
		t.Errorf("it opened after the rule had lapsed: %v", now.Sub(until))
	}
	eventually(t, "the gate shuts when the rule lapses", func() bool { return !there(o.Gated) })
	if early := time.Until(until); early > 0 {
		t.Errorf("it shut %v before the rule lapsed", early)
	}
	v = d.verdict(0, until)
	if blocking := v.Blocking(); len(blocking) != 1 || !strings.Contains(blocking[0].Detail, "lapsed") {
		t.Errorf("%+v", v)
	}
	eventually(t, "an event for each change, and no others", func() bool {
		return slices.Equal(d.state().Events, []string{"RebootGateShut", "RebootGateOpen", "RebootGateShut"})
	})
}
