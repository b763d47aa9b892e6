package checks

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"stella/internal/bytesize"
	"stella/internal/doctor"
	"stella/internal/scanner"
)

const (
	// highShare and fullShare are of a worker's limit. The kernel kills at 1, and a
	// worker that works near its limit is reclaimed from, which makes it slow.
	highShare, fullShare = 0.80, 0.95
	// recent is how far back a kill counts.
	recent = time.Hour
)

// memoryUsage compares the workers' memory with their limits.
type memoryUsage struct{ Service }

func (c memoryUsage) run(ctx context.Context) (doctor.Finding, error) {
	plan, err := c.Plan(ctx)
	if err != nil {
		return doctor.Finding{}, err
	}
	workers, err := c.Workers(ctx)
	if err != nil {
		return doctor.Finding{}, err
	}
	incidents, err := c.Incidents(ctx, time.Time{}, scanner.MaxPage)
	if err != nil {
		return doctor.Finding{}, err
	}
	quarantines, err := c.Quarantines(ctx, scanner.MaxPage)
	if err != nil {
		return doctor.Finding{}, err
	}
	f := begin()
	kills(f, plan, incidents)
	usage(f, plan, workers)
	tooLarge(f, plan, incidents, quarantines)
	return f.end("no worker is near its limit, and none was OOM-killed in the last hour"), nil
}

// kills reports workers that were OOM-killed lately.
func kills(f *finding, plan scanner.Plan, incidents []scanner.WorkerKill) {
	after := time.Now().Add(-recent)
	incidents = slices.DeleteFunc(slices.Clone(incidents), func(i scanner.WorkerKill) bool { return i.At.Before(after) })
	f.show(doctor.Count("workers OOM-killed in the last hour", int64(len(incidents)), "incidents"))
	if len(incidents) == 0 {
		return
	}
	f.say(doctor.Fail, "an image needs more memory than the workers of the pool have",
		"%s OOM-killed in the last hour, the last by %s in pool %s", count(len(incidents), "worker was", "workers were"), incidents[0].Image, incidents[0].Pool)
	f.do("stella scanner incidents list --last 1h")
	seen := map[string]bool{}
	for n, i := range incidents {
		if n < maxShown {
			source := fmt.Sprintf("incident %s, cgroup of worker %s", i.ID, i.Worker)
			f.show(doctor.Text("image", i.Image, source), doctor.Bytes("limit", i.Limit, source), doctor.Bytes("peak", i.Peak, source))
		}
		// Where the limit was raised since then, that may have helped already.
		if pool := pick(plan, i.Pool); !seen[i.Pool] && pool.Memory <= i.Limit {
			seen[i.Pool] = true
			f.do(growPool(pool, 2*i.Limit)...)
		}
	}
	f.stream(plan)
}

// stream advises what needs least: to stream all images, where some are not.
func (f *finding) stream(plan scanner.Plan) {
	if plan.Settings.StreamingThreshold > 0 {
		f.do("stella scanner config set sbom.streaming_threshold 0")
	}
}

// usage reports workers whose memory is near their limit now.
func usage(f *finding, plan scanner.Plan, workers []scanner.Worker) {
	workers = slices.DeleteFunc(slices.Clone(workers), func(w scanner.Worker) bool { return w.PID == 0 || w.Limit <= 0 })
	share := func(w scanner.Worker) float64 { return float64(w.Memory) / float64(w.Limit) }
	slices.SortStableFunc(workers, func(a, b scanner.Worker) int { return cmp.Compare(share(b), share(a)) })
	f.show(doctor.Count("workers that run", int64(len(workers)), "workers"))
	for n, w := range workers {
		if n > 0 && (n == maxShown || share(w) < highShare) {
			break
		}
		source := fmt.Sprintf("worker %s of %s, %s", w.Name, w.Instance, w.Isolation)
		f.show(doctor.Percent("memory of its limit", share(w), source), doctor.Bytes("memory", w.Memory, source), doctor.Bytes("limit", w.Limit, source))
	}
	near := slices.DeleteFunc(workers, func(w scanner.Worker) bool { return share(w) < highShare })
	if len(near) == 0 {
		return
	}
	state := doctor.Warn
	if share(near[0]) >= fullShare {
		state = doctor.Fail
	}
	image := ""
	if near[0].Image != "" {
		image = ", with " + near[0].Image
	}
	f.say(state, "what the worker scans needs more memory than its pool's limit was made for",
		"%s more than %.0f %% of the limit, most of all %s with %.1f %%%s", count(len(near), "worker uses", "workers use"), 100*highShare, near[0].Name, 100*share(near[0]), image)
	f.do("stella scanner workers stats")
	f.do(growPool(pick(plan, near[0].Pool), 2*near[0].Limit)...)
}

// tooLarge names images that no pool has memory for.
func tooLarge(f *finding, plan scanner.Plan, incidents []scanner.WorkerKill, quarantines []scanner.Quarantine) {
	largest, allStreamed := plan.Largest(), plan.Settings.StreamingThreshold == 0
	blocked := slices.DeleteFunc(slices.Clone(quarantines), func(q scanner.Quarantine) bool {
		return largest.Memory > q.Limit || allStreamed && q.Mode == scanner.ModeMemory
	})
	f.show(doctor.Count("images that need more than any pool has", int64(len(blocked)), "quarantine"))
	if len(blocked) == 0 {
		return
	}
	f.say(doctor.Warn, "the largest pool is too small for them as they are scanned now",
		"%s more memory than any pool has, %s in %s", count(len(blocked), "image needs", "images need"), bytesize.Text(largest.Memory), largest.Name)
	most := largest.Memory
	for _, q := range blocked {
		most = max(most, q.Limit)
	}
	f.stream(plan)
	f.do(fmt.Sprintf("stella scanner workers add --pool large-images --memory %s --count 1", bytesize.Size(2*most)))
	for n, q := range blocked {
		if n == maxShown {
			break
		}
		source := fmt.Sprintf("incident %s", q.Incident)
		i := slices.IndexFunc(incidents, func(i scanner.WorkerKill) bool { return i.ID == q.Incident })
		if i < 0 {
			f.show(doctor.Text("image", q.Digest, source), doctor.Bytes("killed with", q.Limit, source))
			continue
		}
		f.show(doctor.Text("image", incidents[i].Image, source), doctor.Bytes("killed with", q.Limit, source))
		f.do("stella scan image --image " + quote(incidents[i].Image) + " --retry")
	}
}
