package checks

import (
	"context"
	"fmt"
	"strings"
	"time"

	"stella/internal/doctor"
	"stella/internal/scanner"
)

// stuckAfter is for how long an attempt may not get further. The slowest single
// step, sorting what a large image has, takes a minute or two on a slow disk.
const stuckAfter = 10 * time.Minute

// workerHealth looks for workers that do not run, do not get further, or died.
type workerHealth struct{ Service }

func (c workerHealth) run(ctx context.Context) (doctor.Finding, error) {
	workers, err := c.Workers(ctx)
	if err != nil {
		return doctor.Finding{}, err
	}
	f := begin()
	states := map[scanner.WorkerState]int64{}
	for _, w := range workers {
		states[w.State]++
	}
	for _, s := range []scanner.WorkerState{scanner.WorkerStarting, scanner.WorkerIdle, scanner.WorkerBusy, scanner.WorkerDraining, scanner.WorkerWaiting} {
		f.show(doctor.Count(string(s), states[s], "workers"))
	}
	// Some may wait for memory while others have it; that none runs cannot be for that reason.
	run := int64(len(workers)) - states[scanner.WorkerWaiting]
	if run == 0 {
		f.say(doctor.Fail, "workers cannot be started; the log says why", "no worker runs")
		f.do("stella scanner status", "stella scanner logs --level warn")
	}
	stuck(f, workers)
	died(f, workers)
	outdated(f, workers)
	unlimited(f, workers)
	return f.end(count(int(run), "worker runs", "workers run") + ", and none is stuck"), nil
}

// stuck reports attempts that do not get further.
func stuck(f *finding, workers []scanner.Worker) {
	n := 0
	for _, w := range workers {
		quiet := time.Since(w.Moved)
		if w.Moved.IsZero() || quiet < stuckAfter {
			continue
		}
		n++
		if n > maxShown {
			continue
		}
		source := fmt.Sprintf("worker %s of %s", w.Name, w.Instance)
		at := w.Progress.Phase
		if w.Progress.Path != "" {
			at = fmt.Sprintf("%s, layer %d, %s", at, w.Progress.Layer, w.Progress.Path)
		}
		f.show(doctor.Seconds("no progress for", quiet.Seconds(), source), doctor.Text("job", fmt.Sprint(w.Job), source), doctor.Text("image", w.Image, source),
			doctor.Text("at", at, source), doctor.Percent("CPU", w.CPU, source))
		f.do(fmt.Sprintf("stella scanner job details %d", w.Job), fmt.Sprintf("stella scanner job cancel %d", w.Job))
	}
	if n > 0 {
		f.say(doctor.Fail, "a registry or a disk that does not answer, where the CPU is near 0; otherwise a file that takes very long to read",
			"%s not got further for %v", count(n, "worker has", "workers have"), scanner.Duration(stuckAfter))
		f.do("stella scanner workers restart --now")
	}
}

// died reports processes that ended lately for no reason of ours.
func died(f *finding, workers []scanner.Worker) {
	n := 0
	for _, w := range workers {
		if w.LastExit == nil || w.LastExit.Reason != scanner.RestartCrash || time.Since(w.LastExit.At) > recent {
			continue
		}
		n++
		if n > maxShown {
			continue
		}
		source := fmt.Sprintf("worker %s of %s", w.Name, w.Instance)
		f.show(doctor.Text("exit code", fmt.Sprint(w.LastExit.ExitCode), source), doctor.Count("crashes since the server started", w.Restarts[scanner.RestartCrash], source))
		if w.LastExit.Message != "" {
			f.show(doctor.Text("its last words", w.LastExit.Message, source))
		}
		f.do("stella scanner workers inspect " + quote(w.Name))
	}
	if n > 0 {
		f.say(doctor.Warn, "a defect of Stella's, a signal from somebody, or no memory on the machine although the worker was below its limit",
			"the processes of %s crashed in the last hour", count(n, "worker", "workers"))
		f.do("stella scanner logs --level error --last 1h")
	}
}

// outdated reports workers that run with a limit that is no longer the pool's.
func outdated(f *finding, workers []scanner.Worker) {
	var names []string
	for _, w := range workers {
		if w.Wanted != 0 && w.Wanted != w.Limit {
			names = append(names, w.Name)
		}
	}
	if len(names) == 0 {
		return
	}
	f.say(doctor.Warn, "the limit was changed, and these workers have not been restarted since then", "%s with an old memory limit", count(len(names), "worker runs", "workers run"))
	f.show(doctor.Text("with an old limit", strings.Join(names[:min(len(names), maxShown)], ", "), "workers"))
	f.do("stella scanner workers restart")
}

// unlimited reports workers whose limit no cgroup keeps.
func unlimited(f *finding, workers []scanner.Worker) {
	n, example := 0, scanner.Worker{}
	for _, w := range workers {
		if strings.HasPrefix(w.Isolation, "fallback") {
			n, example = n+1, w
		}
	}
	if n == 0 {
		return
	}
	f.say(doctor.Warn, "the server may not make memory cgroups: it runs without root, or in a container without a writable cgroup file system",
		"the limits of %s are watched, not kept by the kernel", count(n, "worker", "workers"))
	f.show(doctor.Text("how the limit is kept", example.Isolation, fmt.Sprintf("worker %s of %s", example.Name, example.Instance)))
}
