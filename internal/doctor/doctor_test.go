package doctor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/doctor"
)

var silent = slog.New(slog.DiscardHandler)

func says(id string, s doctor.State) doctor.Check {
	return doctor.Check{ID: id, Title: "title of " + id, Run: func(context.Context) doctor.Finding {
		return doctor.Finding{State: s, Summary: "it is " + string(s)}
	}}
}

func run(t *testing.T, ids []string, checks ...doctor.Check) doctor.Report {
	t.Helper()
	d, err := doctor.New(silent, checks...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Run(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOverallState(t *testing.T) {
	for _, c := range []struct {
		states []doctor.State
		want   doctor.State
	}{
		{nil, doctor.OK},
		{[]doctor.State{doctor.OK, doctor.OK}, doctor.OK},
		{[]doctor.State{doctor.OK, doctor.Warn}, doctor.Warn},
		{[]doctor.State{doctor.Unknown, doctor.Warn}, doctor.Unknown},
		{[]doctor.State{doctor.Warn, doctor.Fail, doctor.Unknown}, doctor.Fail},
		{[]doctor.State{"", doctor.OK}, doctor.Unknown},
		{[]doctor.State{"fine"}, doctor.Unknown},
	} {
		var checks []doctor.Check
		for i, s := range c.states {
			checks = append(checks, says("check.test.n"+string(rune('0'+i)), s))
		}
		if got := run(t, nil, checks...); got.State != c.want {
			t.Errorf("%q: %s, want %s", c.states, got.State, c.want)
		}
	}
}

func TestChoosing(t *testing.T) {
	checks := []doctor.Check{says("check.a.one", doctor.OK), says("check.a.two", doctor.Warn), says("check.b.one", doctor.Fail), says("check.a-b.x", doctor.OK)}
	for _, c := range []struct {
		ids  []string
		want string
	}{
		{nil, "check.a.one check.a.two check.b.one check.a-b.x"},
		{[]string{"check.b.one"}, "check.b.one"},
		{[]string{"check.a"}, "check.a.one check.a.two"},
		{[]string{"check.b.", "check.a.two", "check.a.two"}, "check.a.two check.b.one"},
		{[]string{"check"}, "check.a.one check.a.two check.b.one check.a-b.x"},
	} {
		var got []string
		for _, r := range run(t, c.ids, checks...).Checks {
			got = append(got, r.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q, want %q", c.ids, got, c.want)
		}
	}
	d, err := doctor.New(silent, checks...)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"check.c", "", "check.a.on", "one"} {
		if _, err := d.Run(t.Context(), []string{id}); !errors.Is(err, doctor.ErrNoCheck) || !strings.Contains(err.Error(), "check.b.one") {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, bad := range []doctor.Check{says("scanner", doctor.OK), says("check.", doctor.OK), says("check.A", doctor.OK), says("check.a.one", doctor.OK), {ID: "check.x"}} {
		if _, err := doctor.New(silent, says("check.a.one", doctor.OK), bad); err == nil {
			t.Errorf("%q is taken", bad.ID)
		}
	}
}

func TestPanic(t *testing.T) {
	var log bytes.Buffer
	d, err := doctor.New(slog.New(slog.NewTextHandler(&log, nil)), doctor.Check{ID: "check.panics", Run: func(context.Context) doctor.Finding {
		panic("nobody thought of this")
	}}, says("check.fine", doctor.OK))
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Run(t.Context(), nil)
	if err != nil || r.State != doctor.Unknown || r.Checks[0].State != doctor.Unknown || !strings.Contains(r.Checks[0].Summary, "nobody thought") || r.Checks[1].State != doctor.OK {
		t.Errorf("%+v, %v", r, err)
	}
	if !strings.Contains(log.String(), "doctor_test.go") {
		t.Errorf("the log does not say where: %s", log.String())
	}
}

// A check that hangs is given up, is not started again while it hangs, and is back when it is done.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var starts atomic.Int64
		d, err := doctor.New(silent, doctor.Check{ID: "check.hangs", Run: func(context.Context) doctor.Finding {
			starts.Add(1)
			<-hold
			return doctor.Finding{State: doctor.OK}
		}}, says("check.fine", doctor.OK))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			start := time.Now()
			r, err := d.Run(t.Context(), nil)
			if err != nil || r.Checks[0].State != doctor.Unknown || r.Checks[1].State != doctor.OK || r.State != doctor.Unknown {
				t.Fatalf("%+v, %v", r, err)
			}
			took := time.Since(start)
			if i == 0 && took != 10*time.Second || i > 0 && took != 0 || !strings.Contains(r.Checks[0].Summary, "since") {
				t.Errorf("run %d took %v: %s", i, took, r.Checks[0].Summary)
			}
		}
		if starts.Load() != 1 {
			t.Errorf("it was started %d times", starts.Load())
		}
		close(hold)
		synctest.Wait()
		if r, _ := d.Run(t.Context(), nil); r.State != doctor.OK {
			t.Errorf("%+v", r)
		}
	})
}

// All checks run at the same time, and those who ask at the same time share them.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started atomic.Int64
		slow := func(id string) doctor.Check {
			return doctor.Check{ID: id, Run: func(context.Context) doctor.Finding {
				started.Add(1)
				time.Sleep(5 * time.Second)
				return doctor.Finding{State: doctor.OK}
			}}
		}
		d, err := doctor.New(silent, slow("check.a"), slow("check.b"), slow("check.c"))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if r, _ := d.Run(t.Context(), nil); r.State != doctor.OK || time.Since(start) != 5*time.Second || r.Checks[0].Seconds != 5 {
			t.Errorf("%+v after %v", r, time.Since(start))
		}
		// Two ask at the same time; the first goes away, and the other gets the same answer.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		gone := make(chan doctor.Report)
		go func() {
			r, _ := d.Run(ctx, nil)
			gone <- r
		}()
		synctest.Wait()
		stays := make(chan doctor.Report)
		go func() {
			r, _ := d.Run(t.Context(), nil)
			stays <- r
		}()
		if r := <-gone; r.State != doctor.Unknown || !strings.Contains(r.Checks[0].Summary, "interrupted") {
			t.Errorf("%+v", r)
		}
		if r := <-stays; r.State != doctor.OK || started.Load() != 6 {
			t.Errorf("%+v, %d checks were started", r, started.Load())
		}
	})
}

// What a client reads is what the server said.
func TestJSON(t *testing.T) {
	r := doctor.Report{State: doctor.Fail, At: time.Unix(1, 0).UTC(), Checks: []doctor.Result{{
		ID: "check.x", Title: "x", Seconds: 0.5,
		Finding: doctor.Finding{State: doctor.Unknown, Summary: "s", Cause: "c", Fix: []string{"f"}, Runbook: "r", Verify: "v", Evidence: []doctor.Evidence{
			doctor.Bytes("memory", 64<<20, "cgroup"), doctor.Count("kills", 3, "cgroup"), doctor.Percent("share", 0.955, "cgroup"), doctor.Seconds("age", 61.4, "queue"), doctor.Text("image", "debian:12", "queue"),
		}},
	}}}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"state":"could not tell"`, `{"what":"memory","value":"64.0","unit":"MiB","source":"cgroup"}`, `"value":"95.5","unit":"%"`, `"value":"61","unit":"s"`, `"fix":["f"]`} {
		if !strings.Contains(string(data), part) {
			t.Errorf("no %s in %s", part, data)
		}
	}
	var back doctor.Report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
}
