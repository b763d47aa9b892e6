package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scanner"
)

// Every method of the client arrives at the service as it was called, and its answer comes back.
func TestRoundTrip(t *testing.T) {
	run := start(t)
	c := run.client(t)
	me := fmt.Sprintf("{uid %d true}", os.Geteuid())
	job := someJob()
	since := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	run.sbom = func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "the document"); return err }
	run.logs = func(_ context.Context, _ scanner.LogFilter, _ bool, fn func(scanner.LogLine) error) error {
		return errors.Join(fn(scanner.LogLine{ID: 1, Message: "a"}), fn(scanner.LogLine{ID: 2, Message: "b"}))
	}
	run.events = func(_ context.Context, after int64, fn func(scanner.Event) error) error {
		return errors.Join(fn(scanner.Event{Kind: scanner.EventProgress, Progress: &scanner.Progress{Layer: 1}}), fn(scanner.Event{ID: after + 1, Kind: scanner.EventEnded}))
	}
	var (
		document bytes.Buffer
		lines    []int64
		events   []scanner.Event
	)
	tests := []struct {
		name string
		call func() (any, error)
		want string // what the service sees
		got  any    // what the client gets
	}{
		{"Submit", func() (any, error) {
			return c.Submit(t.Context(), scanner.Request{Image: "debian:12", Platform: "linux/arm64", Timeout: scanner.Duration(time.Minute), Retry: true})
		}, "Submit " + me + " {Image:debian:12 Platform:linux/arm64 Pool: Timeout:1m Retry:true Attach:false}", job.Job},
		{"Job", func() (any, error) { return c.Job(t.Context(), 7) }, "Job 7", job},
		{"Jobs", func() (any, error) {
			return c.Jobs(t.Context(), scanner.JobFilter{Status: []scanner.Status{scanner.StatusFailed, scanner.StatusTimeout}, Pool: "p", Image: "a b", Since: since, Before: 9, Limit: 3})
		}, "Jobs {Status:[failed timeout] Pool:p Image:a b Since:2026-01-02 03:04:05.000006 +0000 UTC Before:9 Limit:3}", []scanner.Job{job.Job}},
		{"Jobs without a filter", func() (any, error) { return c.Jobs(t.Context(), scanner.JobFilter{}) },
			"Jobs {Status:[] Pool: Image: Since:0001-01-01 00:00:00 +0000 UTC Before:0 Limit:100}", []scanner.Job{job.Job}},
		{"Cancel", func() (any, error) { return c.Cancel(t.Context(), 7) }, "Cancel " + me + " 7", job.Job},
		{"Retry", func() (any, error) { return c.Retry(t.Context(), 7) }, "Retry " + me + " 7", job.Job},
		{"Events", func() (any, error) {
			err := c.Events(t.Context(), 7, 12, func(e scanner.Event) error { events = append(events, e); return nil })
			return len(events), err
		}, "Events 7 12", 2},
		{"SBOM", func() (any, error) {
			err := c.SBOM(t.Context(), 7, "spdx-json", &document)
			return document.String(), err
		}, "SBOM 7 spdx-json@2.3", "the document"},
		{"SBOM in the format that is first", func() (any, error) { return nil, c.SBOM(t.Context(), 7, "", io.Discard) }, "SBOM 7 cyclonedx-json@1.7", nil},
		{"Workers", func() (any, error) { w, err := c.Workers(t.Context()); return w[0].LastExit.ExitCode, err }, "Workers", 137},
		{"RestartWorkers", func() (any, error) {
			p, err := c.RestartWorkers(t.Context(), scanner.RestartRequest{Pool: "p", Now: true})
			return p[0].Restarted, err
		}, "RestartWorkers " + me + " {Pool:p Now:true}", 2},
		{"RestartWorkers of all", func() (any, error) {
			_, err := c.RestartWorkers(t.Context(), scanner.RestartRequest{})
			return nil, err
		},
			"RestartWorkers " + me + " {Pool: Now:false}", nil},
		{"Pools", func() (any, error) { p, err := c.Pools(t.Context()); return p != nil && len(p) == 0, err }, "Pools", true},
		{"PutPool", func() (any, error) {
			p, err := c.PutPool(t.Context(), scanner.Pool{Name: "large-images", Memory: 16 << 30, Count: 2})
			return p.Memory, err
		}, "PutPool " + me + " {Name:large-images Memory:17179869184 Count:2 Generation:0}", int64(16 << 30)},
		{"RemovePool", func() (any, error) { return nil, c.RemovePool(t.Context(), "large-images") }, "RemovePool " + me + " large-images", nil},
		{"Settings", func() (any, error) { s, err := c.Settings(t.Context(), "worker"); return s[0].Value, err }, `Settings "worker"`, "2"},
		{"Settings, all", func() (any, error) { _, err := c.Settings(t.Context(), ""); return nil, err }, `Settings ""`, nil},
		{"Set", func() (any, error) {
			s, err := c.Set(t.Context(), "worker.memory_limit", "8Gi")
			return s.Old, err
		}, "Set " + me + " worker.memory_limit=8Gi", "1"},
		{"Set to nothing", func() (any, error) {
			_, err := c.Set(t.Context(), "routing.large_image_pool", "")
			return nil, err
		}, "Set " + me + " routing.large_image_pool=", nil},
		{"Unset", func() (any, error) { s, err := c.Unset(t.Context(), "worker.count"); return s.Old, err }, "Unset " + me + " worker.count", "1"},
		{"Status", func() (any, error) { s, err := c.Status(t.Context()); return s.Store, err }, "Status", "sqlite"},
		{"Queue", func() (any, error) { q, err := c.Queue(t.Context()); return q.Pending, err }, "Queue", int64(3)},
		{"Stats", func() (any, error) {
			s, err := c.Stats(t.Context(), time.Hour)
			return s.Jobs[scanner.StatusFailed], err
		}, "Stats 1h0m0s", int64(1)},
		{"WorkerKills", func() (any, error) { i, err := c.WorkerKills(t.Context(), 0); return i[0].Kills, err }, "WorkerKills 0s", int64(1)},
		{"Doctor", func() (any, error) {
			r, err := c.Doctor(t.Context(), []string{"check.scanner.disk", "check.a"})
			return r.Checks[0].Evidence[0].Value, err
		}, "Doctor [check.scanner.disk check.a]", "1"},
		{"Logs", func() (any, error) {
			err := c.Logs(t.Context(), scanner.LogFilter{Text: "sbom", Level: "debug", Job: 7, Since: since, After: 3, Tail: 100}, false,
				func(l scanner.LogLine) error { lines = append(lines, l.ID); return nil })
			return lines, err
		}, "Logs {Text:sbom Level:debug Job:7 Since:2026-01-02 03:04:05.000006 +0000 UTC After:3 Tail:100} false", []int64{1, 2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.call()
			if err != nil {
				t.Fatal(err)
			}
			if seen := run.last(); seen != test.want {
				t.Errorf("the service saw\n%s, want\n%s", seen, test.want)
			}
			if diff := cmp.Diff(test.got, got); diff != "" {
				t.Errorf("want - got +:\n%s", diff)
			}
		})
	}
	if events[0].ID != 0 || events[0].Progress == nil || events[1].ID != 13 {
		t.Errorf("events: %+v", events)
	}
}

func TestKeysRoundTrip(t *testing.T) {
	run := start(t)
	c := run.client(t)
	made, err := c.CreateKey(t.Context(), scanner.KeyRequest{Name: "ci", Scope: scanner.ScopeScan, TTL: scanner.Duration(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if d := made.Expires.Sub(made.Created); d != time.Hour {
		t.Errorf("it is valid for %v", d)
	}
	keys, err := c.Keys(t.Context())
	if err != nil || len(keys) != 1 || keys[0].Name != "ci" || keys[0].Scope != scanner.ScopeScan || !strings.HasPrefix(keys[0].By, "uid ") {
		t.Fatalf("keys %+v, %v", keys, err)
	}
	if resp := run.do(t, "GET", "/v1/status", made.Secret, ""); resp.StatusCode != 200 {
		t.Errorf("with the key: %s", resp.Status)
	}
	if err := c.RevokeKey(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	if resp := run.do(t, "GET", "/v1/status", made.Secret, ""); resp.StatusCode != 401 {
		t.Errorf("with the revoked key: %s", resp.Status)
	}
	if err := c.RevokeKey(t.Context(), "ci"); !errors.Is(err, scanner.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	if strings.Contains(run.log.String(), made.Secret) {
		t.Error("the log has the key's secret")
	}
}

// An error has the same kind and the same text on both sides.
func TestErrorsKeepTheirKind(t *testing.T) {
	run := start(t)
	c := run.client(t)
	for _, kind := range []error{scanner.ErrInvalid, scanner.ErrNotFound, scanner.ErrConflict, scanner.ErrDenied} {
		run.err = fmt.Errorf("job 7: %w", scanner.Errorf(kind, "it is so"))
		_, err := c.Job(t.Context(), 7)
		if !errors.Is(err, kind) || err.Error() != "job 7: it is so" {
			t.Errorf("%v became %v", run.err, err)
		}
	}
	run.err = &scanner.SettingError{Key: "worker.count", Problem: "too many"}
	if _, err := c.Set(t.Context(), "worker.count", "9"); !errors.Is(err, scanner.ErrInvalid) || !strings.Contains(err.Error(), "worker.count: too many") {
		t.Errorf("a wrong setting became %v", err)
	}
	run.err = errors.New("the secret path /etc/x")
	_, err := c.Job(t.Context(), 7)
	if err == nil || strings.Contains(err.Error(), "/etc/x") || errors.As(err, new(*scanner.Error)) {
		t.Fatalf("an internal error became %v", err)
	}
	_, id, _ := strings.Cut(err.Error(), "as error ")
	if !strings.Contains(run.log.String(), "id="+id) || !strings.Contains(run.log.String(), "/etc/x") {
		t.Errorf("the log does not have error %q:\n%s", id, run.log)
	}
}
