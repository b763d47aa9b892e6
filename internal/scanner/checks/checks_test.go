package checks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/doctor"
	"stella/internal/scanner"
)

// facts is a service that says what a test wants.
type facts struct {
	plan        scanner.Plan
	workers     []scanner.Worker
	queue       scanner.QueueStatus
	incidents   []scanner.WorkerKill
	quarantines []scanner.Quarantine
	err         error
}

func (f *facts) Plan(context.Context) (scanner.Plan, error)               { return f.plan, f.err }
func (f *facts) Workers(context.Context) ([]scanner.Worker, error)        { return f.workers, f.err }
func (f *facts) QueueStatus(context.Context) (scanner.QueueStatus, error) { return f.queue, f.err }
func (f *facts) Incidents(context.Context, time.Time, int) ([]scanner.WorkerKill, error) {
	return f.incidents, f.err
}
func (f *facts) Quarantines(context.Context, int) ([]scanner.Quarantine, error) {
	return f.quarantines, f.err
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// fine is a service that nothing is wrong with.
func fine() *facts {
	s := scanner.DefaultSettings()
	return &facts{
		plan: scanner.Plan{Settings: s, Pools: []scanner.Pool{{Name: "default", Memory: 64 * mib, Count: 2}, {Name: "big", Memory: 128 * mib, Count: 1}}},
		workers: []scanner.Worker{
			{Name: "default-0", Instance: "one", Pool: "default", State: scanner.WorkerIdle, PID: 1, Limit: 64 * mib, Memory: 20 * mib, Isolation: "cgroup v2"},
			{Name: "default-1", Instance: "one", Pool: "default", State: scanner.WorkerBusy, PID: 2, Limit: 64 * mib, Memory: 51 * mib, Isolation: "cgroup v2", Job: 5, Image: "a/b:1", Moved: time.Now()},
			{Name: "big-0", Instance: "one", Pool: "big", State: scanner.WorkerWaiting, Limit: 128 * mib},
		},
		queue: scanner.QueueStatus{Pending: 3, Running: 1, Oldest: 59, Pools: []scanner.QueuePool{{Pool: "default", Pending: 3, Running: 1, Oldest: 59}}},
	}
}

func find(t *testing.T, s Service, dirs []Directory, id string) doctor.Finding {
	t.Helper()
	d, err := doctor.New(slog.New(slog.DiscardHandler), All(s, dirs)...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Run(t.Context(), []string{id})
	if err != nil || len(r.Checks) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Checks[0].Finding
}

// expect checks a finding's state, and the words that all of it must have.
func expect(t *testing.T, f doctor.Finding, s doctor.State, words ...string) {
	t.Helper()
	text := fmt.Sprintf("%s\n%s\n%s\n%+v", f.Summary, f.Cause, strings.Join(f.Fix, "\n"), f.Evidence)
	if f.State != s {
		t.Errorf("it is %s, want %s:\n%s", f.State, s, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("nothing says %q:\n%s", w, text)
		}
	}
	if f.Summary == "" || f.Runbook == "" || f.Verify == "" {
		t.Errorf("incomplete: %+v", f)
	}
	if (f.State == doctor.OK) != (f.Cause == "") || f.State == doctor.OK && len(f.Fix) > 0 || f.State != doctor.OK && f.State != doctor.Unknown && len(f.Fix) == 0 && !strings.Contains(f.Summary, "limits of") && !strings.Contains(f.Summary, "kept in memory") {
		t.Errorf("%s with the cause %q and the fix %q", f.State, f.Cause, f.Fix)
	}
}

func TestAllFine(t *testing.T) {
	for _, id := range []string{MemoryUsage, WorkerHealth, Queue} {
		expect(t, find(t, fine(), nil, id), doctor.OK)
	}
	expect(t, find(t, fine(), nil, Disk), doctor.OK)
}

func TestCannotTell(t *testing.T) {
	s := fine()
	s.err = errors.New("the database does not answer")
	for _, id := range []string{MemoryUsage, WorkerHealth, Queue} {
		expect(t, find(t, s, nil, id), doctor.Unknown, "the database does not answer", "stella scanner status")
	}
}

func TestMemoryUsage(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*facts)
		state  doctor.State
		words  []string
	}{
		{"below 80 %", func(s *facts) { s.workers[1].Memory = 51 * mib }, doctor.OK, []string{"Value:79.7 Unit:%"}},
		{"80 %", func(s *facts) { s.workers[1].Memory = 52 * mib }, doctor.Warn,
			[]string{"81.2 %", "a/b:1", "52.0", "MiB", "stella scanner config set worker.memory_limit 128Mi", "stella scanner workers restart --pool default"}},
		{"95 %", func(s *facts) { s.workers[1].Memory = 61 * mib }, doctor.Fail, []string{"95.3 %"}},
		{"95 % in another pool", func(s *facts) {
			s.workers[2] = scanner.Worker{Name: "big-0", Pool: "big", PID: 3, Limit: 128 * mib, Memory: 127 * mib}
		}, doctor.Fail, []string{"stella scanner workers add --pool big --memory 256Mi --count 1", "stella scanner workers restart --pool big"}},
		{"a process that is gone", func(s *facts) { s.workers[1].PID, s.workers[1].Memory = 0, 64*mib }, doctor.OK, nil},
		{"killed lately", func(s *facts) {
			s.incidents = []scanner.WorkerKill{{ID: "job-9", At: time.Now().Add(-59 * time.Minute), Image: "x/y:2", Pool: "default", Worker: "default-0", Limit: 64 * mib, End: scanner.End{Peak: 64 * mib}, Action: "re-routed to pool big"}}
		}, doctor.Fail, []string{"1 worker was OOM-killed", "x/y:2", "incident job-9", "stella scanner incidents list", "worker.memory_limit 128Mi"}},
		{"killed long ago", func(s *facts) {
			s.incidents = []scanner.WorkerKill{{ID: "job-9", At: time.Now().Add(-61 * time.Minute), Image: "x/y:2", Pool: "default", Limit: 64 * mib}}
		}, doctor.OK, nil},
		{"killed, and the limit was raised since", func(s *facts) {
			s.plan.Pools[0].Memory = 256 * mib
			s.incidents = []scanner.WorkerKill{{ID: "job-9", At: time.Now(), Image: "x/y:2", Pool: "default", Limit: 64 * mib}}
		}, doctor.Fail, nil},
		{"too large for all pools", func(s *facts) {
			s.plan.Settings.StreamingThreshold = gib
			s.incidents = []scanner.WorkerKill{{ID: "job-9", At: time.Now().Add(-48 * time.Hour), Image: "x/y z:2", Pool: "big", Limit: 128 * mib}}
			s.quarantines = []scanner.Quarantine{{Digest: "sha256:1", Limit: 128 * mib, Incident: "job-9", Mode: scanner.ModeMemory}, {Digest: "sha256:2", Limit: 128 * mib, Incident: "job-8"}, {Digest: "sha256:3", Limit: 64 * mib, Incident: "job-7"}}
		}, doctor.Warn, []string{"2 images need more memory", "sha256:2", "stella scan image --image 'x/y z:2' --retry", "--pool large-images --memory 256Mi --count 1", "sbom.streaming_threshold 0"}},
		{"too large, but streamed now", func(s *facts) {
			s.plan.Settings.StreamingThreshold = 0
			s.quarantines = []scanner.Quarantine{{Digest: "sha256:1", Limit: 128 * mib, Incident: "job-9", Mode: scanner.ModeMemory}}
		}, doctor.OK, nil},
		{"too large, although streamed", func(s *facts) {
			s.plan.Settings.StreamingThreshold = 0
			s.quarantines = []scanner.Quarantine{{Digest: "sha256:1", Limit: 128 * mib, Incident: "job-9", Mode: scanner.ModeStreaming}}
		}, doctor.Warn, []string{"1 image needs more memory"}},
		{"both", func(s *facts) {
			s.workers[1].Memory = 52 * mib
			s.incidents = []scanner.WorkerKill{{ID: "job-9", At: time.Now(), Image: "x/y:2", Pool: "default", Limit: 64 * mib}}
		}, doctor.Fail, []string{"OOM-killed in the last hour", "81.2 %", "more memory than the workers of the pool have"}},
	} {
		s := fine()
		c.change(s)
		t.Run(c.name, func(t *testing.T) { expect(t, find(t, s, nil, MemoryUsage), c.state, c.words...) })
	}
}

// However many are wrong, what is shown stays readable.
func TestBounded(t *testing.T) {
	s := fine()
	for i := range 400 {
		s.workers = append(s.workers, scanner.Worker{Name: fmt.Sprintf("big-%d", i), Pool: "big", PID: 10 + i, Limit: mib, Memory: mib, State: scanner.WorkerBusy, Job: int64(i),
			Moved: time.Now().Add(-time.Hour), Wanted: 2 * mib, LastExit: &scanner.Exit{At: time.Now(), Reason: scanner.RestartCrash, Message: "x"}})
		s.incidents = append(s.incidents, scanner.WorkerKill{ID: fmt.Sprint("job-", i), At: time.Now(), Image: fmt.Sprint("image", i), Pool: "big", Limit: 128 * mib})
		s.quarantines = append(s.quarantines, scanner.Quarantine{Digest: fmt.Sprint(i), Limit: gib, Incident: fmt.Sprint("job-", i)})
	}
	for _, id := range []string{MemoryUsage, WorkerHealth} {
		f := find(t, s, nil, id)
		expect(t, f, doctor.Fail, "400")
		if len(f.Evidence) > 10*maxShown || len(f.Fix) > 4*maxShown || len(f.Summary) > 1000 {
			t.Errorf("%s: %d pieces of evidence, %d commands, a summary of %d bytes", id, len(f.Evidence), len(f.Fix), len(f.Summary))
		}
	}
}

func TestWorkerHealth(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*facts)
		state  doctor.State
		words  []string
	}{
		{"none", func(s *facts) { s.workers = nil }, doctor.Fail, []string{"no worker runs", "stella scanner logs --level warn"}},
		{"all wait", func(s *facts) { s.workers = s.workers[2:] }, doctor.Fail, []string{"no worker runs"}},
		{"stuck", func(s *facts) {
			s.workers[1].Moved = time.Now().Add(-11 * time.Minute)
			s.workers[1].Progress = scanner.Progress{Phase: "layers", Layer: 3, Path: "usr/lib/big.jar"}
		}, doctor.Fail, []string{"1 worker has not got further for 10m", "usr/lib/big.jar", "layer 3", "stella scanner job cancel 5", "stella scanner workers restart --now"}},
		{"slow, but not stuck", func(s *facts) { s.workers[1].Moved = time.Now().Add(-9 * time.Minute) }, doctor.OK, nil},
		{"crashed", func(s *facts) {
			s.workers[0].LastExit = &scanner.Exit{At: time.Now(), ExitCode: 137, Reason: scanner.RestartCrash, Message: "signal: killed"}
			s.workers[0].Restarts = map[scanner.RestartReason]int64{scanner.RestartCrash: 4}
		}, doctor.Warn, []string{"137", "signal: killed", "stella scanner workers inspect default-0", "4"}},
		{"ended as it was told", func(s *facts) {
			s.workers[0].LastExit = &scanner.Exit{At: time.Now(), Reason: scanner.RestartRequested}
		}, doctor.OK, nil},
		{"crashed yesterday", func(s *facts) {
			s.workers[0].LastExit = &scanner.Exit{At: time.Now().Add(-24 * time.Hour), Reason: scanner.RestartCrash}
		}, doctor.OK, nil},
		{"old limit", func(s *facts) { s.workers[0].Wanted = gib }, doctor.Warn, []string{"1 worker runs with an old memory limit", "default-0", "stella scanner workers restart"}},
		{"no cgroup", func(s *facts) { s.workers[0].Isolation = "fallback: resident set watched" }, doctor.Warn, []string{"not kept by the kernel"}},
	} {
		s := fine()
		c.change(s)
		t.Run(c.name, func(t *testing.T) { expect(t, find(t, s, nil, WorkerHealth), c.state, c.words...) })
	}
}

func TestQueue(t *testing.T) {
	waits := func(pool string, pending, delayed int64, oldest time.Duration) func(*facts) {
		return func(s *facts) {
			s.queue.Pools = []scanner.QueuePool{{Pool: pool, Pending: pending, Delayed: delayed, Oldest: oldest.Seconds()}}
		}
	}
	for _, c := range []struct {
		name   string
		change func(*facts)
		state  doctor.State
		words  []string
	}{
		{"nine minutes", waits("default", 5, 0, 9*time.Minute), doctor.OK, nil},
		{"ten minutes", waits("default", 5, 0, 10*time.Minute), doctor.Warn, []string{"up to 10m", "stella scanner config set worker.count 3"}},
		{"an hour", waits("default", 5, 1, time.Hour), doctor.Fail, []string{"up to 1h"}},
		{"on purpose", waits("default", 5, 5, time.Hour), doctor.OK, nil},
		{"for workers that do not run", waits("big", 5, 0, 10*time.Minute), doctor.Fail, []string{"none of its workers runs", "stella scanner workers list --pool big"}},
		{"for a pool that is gone", waits("gone", 5, 0, 10*time.Minute), doctor.Fail, []string{"does not exist", "--pool gone"}},
		{"for another pool", func(s *facts) {
			s.workers[2].State = scanner.WorkerIdle
			waits("big", 5, 0, 10*time.Minute)(s)
		}, doctor.Warn, []string{"stella scanner workers add --pool big --memory 128Mi --count 2"}},
	} {
		s := fine()
		c.change(s)
		t.Run(c.name, func(t *testing.T) { expect(t, find(t, s, nil, Queue), c.state, c.words...) })
	}
}

func TestDiskSpace(t *testing.T) {
	for _, c := range []struct {
		name  string
		space space
		state doctor.State
		words []string
	}{
		{"half full", space{bytes: 100 * gib, freeBytes: 50 * gib, inodes: 100, freeInodes: 50}, doctor.OK, nil},
		{"little of a large disk", space{bytes: 1000 * gib, freeBytes: 6 * gib}, doctor.OK, nil},
		{"most of a small disk", space{bytes: gib, freeBytes: gib / 2}, doctor.OK, nil},
		{"low", space{bytes: 50 * gib, freeBytes: 4 * gib}, doctor.Warn, []string{"is low: 4.0 GiB free", "df -h '/x y'", "stella scanner config set cache.max_size 512Mi", "stella scanner config set results.retention 360h"}},
		{"full", space{bytes: 50 * gib, freeBytes: 100 * mib}, doctor.Fail, []string{"is full: 100 MiB free", "data (/x y)"}},
		{"few inodes", space{bytes: 50 * gib, freeBytes: 40 * gib, inodes: 1000, freeInodes: 99}, doctor.Warn, []string{"9.9", "is low on inodes"}},
		{"no inodes", space{bytes: 50 * gib, freeBytes: 40 * gib, inodes: 1000, freeInodes: 1}, doctor.Fail, []string{"has no inodes left", "df -i"}},
		{"a tmpfs", space{bytes: 50 * gib, freeBytes: 40 * gib, memory: true}, doctor.Warn, []string{"kept in memory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := disk{fine(), []Directory{{"data", "/x y"}}, func(string) (space, error) { return c.space, nil }}
			expect(t, finish(Disk, d.run)(t.Context()), c.state, c.words...)
		})
	}
	s := fine()
	s.err = errors.New("no database")
	d := disk{s, []Directory{{"data", "/a"}, {"cache", "/b"}}, func(path string) (space, error) {
		if path == "/b" {
			return space{}, errors.New("may not look")
		}
		return space{bytes: 50 * gib, freeBytes: 0}, nil
	}}
	expect(t, finish(Disk, d.run)(t.Context()), doctor.Fail, "data (/a) is full", "may not look", "df -h /a")
}

// The real thing agrees with df, also for a directory that is not there yet.
func TestStatfs(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "not", "yet")} {
		s, err := statfs(path)
		if err != nil || s.bytes <= 0 || s.freeBytes < 0 || s.freeBytes > s.bytes || s.freeInodes > s.inodes {
			t.Errorf("%s: %+v, %v", path, s, err)
		}
	}
	if s, err := statfs("/dev/shm"); err == nil && !s.memory {
		t.Errorf("/dev/shm: %+v", s)
	}
	var size int64
	out, err := exec.Command("df", "-B1", "--output=size", dir).Output()
	if err != nil {
		t.Skip("no df with --output here")
	}
	if _, err := fmt.Sscan(strings.Fields(string(out))[1], &size); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if s, _ := statfs(dir); s.bytes != size {
		t.Errorf("%d bytes, df says %d", s.bytes, size)
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "debian:12", "a b", "it's", "$(reboot)", "`x`", "a\nb", "-rf"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			t.Skip() // no argument has it
		}
		out, err := exec.Command("sh", "-c", "printf %s. "+quote(s)).Output()
		if err != nil || string(out) != s+"." {
			t.Errorf("quote(%q) = %s, which a shell reads as %q, %v", s, quote(s), out, err)
		}
	})
}
