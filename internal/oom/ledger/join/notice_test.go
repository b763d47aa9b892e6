package join

import (
	"testing"
	"time"

	"stella/internal/oom"
)

const id = "0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db"

func owner(cgroup string) oom.Container {
	if cgroup == "/kubepods/pod1/"+id {
		return oom.Container{ID: id, Namespace: "default", Pod: "web-1", Name: "web"}
	}
	return oom.Container{Unit: "a.service"}
}

func (d *desk) notice(n oom.Notice) {
	n.Time = d.now
	d.j.Notice(d.now, n, Seen{})
	d.take()
}

// Whoever says that a container had an OOM confirms its kills, before and after them; whoever names another one does not.
func TestNoticesConfirm(t *testing.T) {
	right := []oom.Notice{
		{Witness: oom.WitnessRuntime, Container: oom.Container{ID: id}},
		{Witness: oom.WitnessRuntime, Container: oom.Container{ID: id[:20]}}, // as conmon logs it
		{Witness: oom.WitnessKubelet, Process: oom.Process{PID: 7}},
		{Witness: oom.WitnessStatus, Reason: killed, Container: oom.Container{Namespace: "default", Pod: "web-1", Name: "web"}},
	}
	wrong := []oom.Notice{
		{Witness: oom.WitnessRuntime, Container: oom.Container{ID: "f" + id[1:]}}, // the pod's sandbox
		{Witness: oom.WitnessRuntime, Container: oom.Container{ID: id[:4]}},
		{Witness: oom.WitnessStatus, Reason: "Error", ExitCode: 137, Container: oom.Container{Namespace: "default", Pod: "web-1", Name: "web"}},
		{Witness: oom.WitnessKubelet, Process: oom.Process{PID: 8}},
		{Witness: oom.WitnessSystemd, Container: oom.Container{Unit: "a.service"}},
		{Witness: oom.WitnessSystemd, Reason: notTheKernel, Cgroup: "/kubepods/pod1/" + id},
		{Witness: oom.WitnessKubelet}, // a SystemOOM without a process
	}
	for _, before := range []bool{true, false} {
		d := newDesk(t, Options{Owner: owner})
		d.begin()
		all := append(append([]oom.Notice{}, right...), wrong...)
		if before {
			for _, n := range all {
				d.notice(n)
			}
		}
		d.line(7, in("/kubepods/pod1/"+id))
		if !before {
			d.wait(5 * time.Second)
			for _, n := range all {
				d.notice(n)
			}
		}
		d.wait(time.Minute)
		d.want("1x pid 7 /kubepods/pod1/" + id + " cgroup certain [kernel-log runtime kubelet pod-status]")
	}
}

// Where the kernel can be heard, nobody else makes kills: SIGKILL, an exit with 137 and what systemd-oomd does are none.
func TestNoticesMakeNoKills(t *testing.T) {
	d := newDesk(t, Options{Owner: owner})
	d.begin()
	for range 2 * maxNotices {
		d.notice(oom.Notice{Witness: oom.WitnessRuntime, Container: oom.Container{ID: id}})
		d.notice(oom.Notice{Witness: oom.WitnessStatus, Reason: killed, Container: oom.Container{Namespace: "default", Pod: "web-1", Name: "web"}})
	}
	if len(d.j.notices) > maxNotices {
		t.Errorf("%d notices wait", len(d.j.notices))
	}
	d.wait(time.Minute)
	d.want()
}

// Where nothing of the kernel can be heard, a notice makes a kill, weakly, and two of one container one.
func TestNoticesAlone(t *testing.T) {
	var known bool
	d := newDesk(t, Options{Told: func(oom.Container, time.Time) bool { return known }})
	c := oom.Container{ID: id, Namespace: "default", Pod: "web-1", Name: "web"}
	d.notice(oom.Notice{Witness: oom.WitnessRuntime, Container: c})
	d.wait(time.Second)
	d.notice(oom.Notice{Witness: oom.WitnessStatus, Reason: killed, ExitCode: 137, Container: c})
	d.wait(time.Minute)
	d.want("1x pid 0  unknown weak [runtime pod-status]")
	known = true
	d.notice(oom.Notice{Witness: oom.WitnessStatus, Reason: killed, ExitCode: 137, Container: c})
	d.wait(time.Minute)
	d.want("1x pid 0  unknown weak [runtime pod-status]")
}

// The tracepoint names the process of a kill whose line was lost. A line that comes after all takes the place.
func TestTracepointNamesVictim(t *testing.T) {
	d := newDesk(t, Options{Owner: owner})
	d.begin()
	d.wait(time.Second)
	at := d.now
	d.j.Notice(d.now, oom.Notice{Witness: oom.WitnessTrace, Time: d.now, Process: oom.Process{PID: 7, Comm: "hog"}}, Seen{Cgroup: "/c"})
	d.notice(oom.Notice{Witness: oom.WitnessTrace, Process: oom.Process{PID: 8, Comm: "exiting"}})
	d.rise("/c", 1, 1, nil)
	d.rise("", 1, 1, nil)
	d.wait(10 * time.Second)
	d.want("1x pid 7 /c unknown strong [cgroup-counter node-counter tracepoint]")
	d.line(7, func(r *oom.Report) { in("/c")(r); r.Time = at })
	d.wait(time.Minute)
	d.want("1x pid 7 /c cgroup certain [kernel-log cgroup-counter node-counter tracepoint]")
}

// Whether the main process lived on is asked when it had time to end.
func TestMainSurvived(t *testing.T) {
	for _, test := range []struct {
		main      int
		alive, ok bool
		want      string
	}{
		{1, true, true, "true"},
		{1, false, true, "false"},
		{7, true, true, "false"}, // it is the victim, and not waited for yet
		{0, false, false, "unknown"},
	} {
		d := newDesk(t, Options{Main: func(string) (int, bool, bool) { return test.main, test.alive, test.ok }})
		d.line(7, in("/c"))
		d.wait(10 * time.Second)
		got := "unknown"
		if s := d.all[1].Kill.MainSurvived; s != nil {
			got = map[bool]string{true: "true", false: "false"}[*s]
		}
		if got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
