package kured

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/sentinel"
)

// The metric follows the file, and is no proof of anything else.
func TestMetricFollows(t *testing.T) {
	r := newRig(t)
	check := r.check()
	want(t, check.Run(t.Context()), gate.Pass, "", "is 0, as the file")
	if err := r.options.Gated.Allow(sentinel.Grant{Node: "n1"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	want(t, check.Run(t.Context()), gate.Pass, "", "metric not yet")
	r.metrics.set(sample("1"))
	want(t, check.Run(t.Context()), gate.Pass, "", "is 1, as the file")
	if err := r.options.Gated.Remove(); err != nil {
		t.Fatal(err)
	}
	want(t, check.Run(t.Context()), gate.Unknown, ReasonUnsettled, "may be from before")
}

// What a difference means, over time.
func TestJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := new(checker), new(pod)
		outcome := func(required, open bool, process string) string {
			_, err := c.judge(required, open, p, process)
			if err == nil {
				return "pass"
			}
			return err.(*refusal).Reason //nolint:errorlint // judge returns no other
		}
		steps := []struct {
			wait           time.Duration
			required, open bool
			want           string
		}{
			{0, true, false, ReasonUnsettled}, // at the start, from before
			{settled, true, false, ReasonUnsettled},
			{time.Second, true, false, ReasonBypassed},
			{time.Hour, true, false, ReasonBypassed},
			{time.Minute, false, false, "pass"},
			{time.Minute, false, true, "pass"}, // opened: not yet seen
			{time.Minute, true, true, "pass"},
			{time.Hour, true, false, ReasonUnsettled}, // shut: still 1
			{time.Minute, true, true, "pass"},         // opened again meanwhile
			{time.Minute, true, false, ReasonUnsettled},
			{time.Minute, false, false, "pass"},
			{time.Minute, false, true, "pass"},
			{time.Hour, true, false, ReasonUnsettled}, // seen meanwhile, and shut
			{time.Hour, false, true, "pass"},          // and the reverse
			{settled, false, true, "pass"},
			{time.Second, false, true, ReasonNotSeen},
		}
		for i, s := range steps {
			time.Sleep(s.wait)
			if got := outcome(s.required, s.open, "p"); got != s.want {
				t.Errorf("step %d: %s, want %s", i, got, s.want)
			}
		}
		if c.blind != "p" {
			t.Errorf("blind is %q", c.blind)
		}
	})
}

// A kured that did not see the file stays blocked until another one runs: the file is gone as soon as that blocks, and nothing would differ any more.
func TestNotSeenStays(t *testing.T) {
	r := newRig(t)
	check := r.check()
	c := &checker{Options: r.options, client: r.client, http: metricClient(), seen: seen{blind: "pod-uid/0"}}
	check.Run = c.run
	for range 2 {
		want(t, check.Run(t.Context()), gate.Block, ReasonNotSeen, "kured-abc")
	}
	r.pod["status"].(js)["containerStatuses"] = []any{js{"name": "kured", "restartCount": 1}}
	want(t, check.Run(t.Context()), gate.Pass, "")
}

func TestMetricFaults(t *testing.T) {
	r := newRig(t)
	check := r.check()
	for name, answer := range map[string]func(http.ResponseWriter){
		"404":         func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"500":         func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"204":         func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) },
		"redirect":    func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(http.StatusFound) },
		"empty":       func(http.ResponseWriter) {},
		"html":        func(w http.ResponseWriter) { io.WriteString(w, "<html>") },
		"truncated":   func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9999"); sample("0")(w) },
		"two":         func(w http.ResponseWriter) { sample("0")(w); sample("0")(w) },
		"three":       sample("3"),
		"NaN":         sample("NaN"),
		"nothing":     sample(""),
		"404 with it": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound); sample("0")(w) },
		"huge": func(w http.ResponseWriter) {
			sample("0")(w)
			for range 2 << 10 {
				io.WriteString(w, strings.Repeat("#", 1023)+"\n")
			}
		},
		"a long line": func(w http.ResponseWriter) { sample("0")(w); io.WriteString(w, strings.Repeat("x", 2*maxLine)) },
	} {
		r.metrics.set(answer)
		got := check.Run(t.Context())
		if got.Outcome != gate.Unknown || got.Reason != ReasonMetric {
			t.Errorf("%s: %s %s: %s", name, got.Outcome, got.Reason, got.Detail)
		}
	}
	r.pod["status"].(js)["podIP"] = ""
	want(t, check.Run(t.Context()), gate.Unknown, ReasonMetric, "no address")
	r.pod["status"].(js)["podIP"] = "127.0.0.1"
	r.container["args"] = []any{"--reboot-sentinel=/sentinel/gated-reboot-required", "--metrics-port=1"}
	want(t, check.Run(t.Context()), gate.Unknown, ReasonMetric, "refused")
	r.options.NoMetric = true
	want(t, r.look(t), gate.Pass, "", "configuration")
}

func TestParseMetric(t *testing.T) {
	for text, want := range map[string]string{
		`kured_reboot_required{node="n1"} 1`:                                  "1",
		"kured_reboot_required_total 7\nkured_reboot_required{node=\"n1\"} 0": "0",
		`kured_reboot_required{node="n1",} 1 1700000000000`:                   "1",
		` kured_reboot_required {node="n1"} 1e0`:                              "1",
		`kured_reboot_required 1`:                                             "should be of",
		`kured_reboot_required{node="n2"} 1`:                                  "should be of",
		`kured_reboot_required{node="n1",x="}"} 1`:                            "should be of",
		`kured_reboot_required{node="n1} 1`:                                   "no end",
		`kured_reboot_required{node="n1"}`:                                    "no value",
		`kured_reboot_required{node="n1"} 1 2 3`:                              "several",
		`kured_reboot_required{node="n1"} yes`:                                "neither",
		`# kured_reboot_required{node="n1"} 1`:                                "0 times",
		``:                                                                    "0 times",
	} {
		got, err := parseMetric(strings.NewReader(text), "n1")
		if err == nil && fmt.Sprint(number(got)) != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
}

// A metric is read only where one line alone says it of this node.
func FuzzMetric(f *testing.F) {
	f.Add("# HELP x\nkured_reboot_required{node=\"n1\"} 1\n")
	f.Add("kured_reboot_required{node=\"n1\"} 0\r\nkured_reboot_required{node=\"n2\"} 0")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parseMetric(strings.NewReader(text), "n1"); err == nil && !strings.Contains(text, `node="n1"`) {
			t.Errorf("read from %q", text)
		}
	})
}
