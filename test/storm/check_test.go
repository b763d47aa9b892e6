package storm

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/bench/daemon"
	"stella/internal/bytesize"
	"stella/internal/scanner"
)

// mark is what tells all that comes of one image from the others: the image's name, its package, its directories.
var mark = regexp.MustCompile(`storm-\d+`)

// check asserts that all is right, and returns what was too slow.
func (s *storm) check() (slow error) {
	incidents, err := s.WorkerKills(s.Context(), 0)
	s.must(err)
	if len(incidents) != workers {
		s.Errorf("%d incidents; want %d", len(incidents), workers)
	}
	byJob := map[int64]scanner.WorkerKill{}
	for _, x := range incidents {
		byJob[x.Job] = x
	}
	var jobs []scanner.JobDetails
	for i, id := range s.jobs {
		job, err := s.Job(s.Context(), id)
		s.must(err)
		s.checkIncident(i, job, byJob[id])
		s.checkJob(i, job)
		jobs = append(jobs, job)
	}
	if s.Failed() {
		return nil
	}
	usage, err := daemon.UsageOf(s.PID)
	s.must(err)
	if usage.Peak >= most {
		s.Errorf("stellad had %s resident; want less than %s", bytesize.Text(usage.Peak), bytesize.Text(most))
	}
	s.Logf("%d workers in the larger pool; stellad's peak %s, %v of CPU, %d threads", s.places, bytesize.Text(usage.Peak), usage.CPU, usage.Threads)
	return errors.Join(s.checkKills(incidents), s.checkPace(jobs))
}

// checkIncident compares an incident with what its image is, and with the worker that had it.
func (s *storm) checkIncident(i int, job scanner.JobDetails, x scanner.WorkerKill) {
	s.Helper()
	if x.ExitCode == nil || *x.ExitCode != 137 || x.Kills != 1 || x.Peak < limit/8*7 || x.Peak > limit+mib {
		s.Errorf("%s: the evidence is %+v; want exit code 137, one kill, and a peak near %d", name(i), x.End, limit)
	}
	got := fmt.Sprintf("job %d attempt %d image %s %s in %s of %s with %d, layer %d file %s, %s",
		x.Job, x.Number, x.Image, x.Digest, x.Worker, x.Pool, x.Limit, x.Progress.Layer, x.Progress.Path, x.Action)
	want := fmt.Sprintf("job %d attempt 1 image %s %s in %s of default with %d, layer %d file %s, re-routed to pool large (128Mi)",
		s.jobs[i], s.registry.Ref(name(i)), job.Digest, s.had[s.jobs[i]], limit, below(i), file(i))
	if d := cmp.Diff(want, got); d != "" {
		s.Errorf("incident of %s (-want +got):\n%s", name(i), d)
	}
}

// checkJob looks at a job's two attempts and at its SBOM.
func (s *storm) checkJob(i int, job scanner.JobDetails) {
	s.Helper()
	var tries []string
	for _, a := range job.History {
		tries = append(tries, fmt.Sprintf("%s in %s with %d", a.Outcome, a.Pool, a.Limit))
	}
	want := []string{fmt.Sprintf("oom in default with %d", limit), fmt.Sprintf("succeeded in large with %d", large)}
	d := cmp.Diff(want, tries)
	if d != "" || job.Status != scanner.StatusSucceeded || len(job.Incidents) != 1 {
		s.Errorf("%s: %s: %s, %d incidents (-want +got):\n%s", name(i), job.Status, job.Message, len(job.Incidents), d)
		return
	}
	if job.History[0].Worker != s.had[job.ID] {
		s.Errorf("%s: the first attempt was in %s; want %s", name(i), job.History[0].Worker, s.had[job.ID])
	}
	var document bytes.Buffer
	s.must(s.SBOM(s.Context(), job.ID, "cyclonedx-json", &document))
	found := map[string]bool{}
	for _, m := range mark.FindAll(document.Bytes(), -1) {
		found[string(m)] = true
	}
	d = cmp.Diff(map[string]bool{name(i): true}, found)
	if own := "pkg:npm/" + name(i) + "@1.0.0"; d != "" || !bytes.Contains(document.Bytes(), []byte(own)) {
		s.Errorf("the SBOM of %s is not its own (-want +got):\n%s\n%s", name(i), d, document.Bytes())
	}
}

// checkKills says how far the kills lie apart.
func (s *storm) checkKills(incidents []scanner.WorkerKill) error {
	first, last := incidents[0].At, incidents[0].At
	for _, x := range incidents {
		if x.At.Before(first) {
			first = x.At
		}
		if x.At.After(last) {
			last = x.At
		}
	}
	spread := last.Sub(first)
	s.Logf("%d kills within %v", len(incidents), spread)
	if spread >= soon {
		return fmt.Errorf("the kills lie %v apart", spread)
	}
	return nil
}

// checkPace says how soon each job waited again after its worker's end, and was tried again
// where there was a place.
func (s *storm) checkPace(jobs []scanner.JobDetails) error {
	ws, err := s.Workers(s.Context())
	s.must(err)
	died := map[string]time.Time{}
	for _, w := range ws {
		if w.LastExit != nil {
			died[w.Name] = w.LastExit.At
		}
	}
	var queued, tried []time.Duration
	busy := map[string][]scanner.Attempt{} // of the larger pool's workers
	for _, job := range jobs {
		first, second := job.History[0], job.History[1]
		queued = append(queued, first.Ended.Sub(died[first.Worker]))
		tried = append(tried, second.Started.Sub(died[first.Worker]))
		busy[second.Worker] = append(busy[second.Worker], second)
	}
	err = s.pace("from a kill to the queue of the larger pool", queued)
	if s.places == workers {
		return errors.Join(err, s.pace("from a kill to the next attempt", tried))
	}
	// No worker of the larger pool rests while there are jobs for it.
	var rests []time.Duration
	for _, all := range busy {
		slices.SortFunc(all, func(a, b scanner.Attempt) int { return a.Started.Compare(b.Started) })
		for i := range all[1:] {
			rests = append(rests, all[i+1].Started.Sub(all[i].Ended))
		}
	}
	if len(busy) != s.places {
		err = errors.Join(err, fmt.Errorf("only %v of %d workers were used", slices.Sorted(maps.Keys(busy)), s.places))
	}
	return errors.Join(err, s.pace("from one attempt to the next in the same worker", rests))
}

func (s *storm) pace(what string, all []time.Duration) error {
	slices.Sort(all)
	middle, longest := all[len(all)/2], all[len(all)-1]
	s.Logf("%s: median %v, longest %v", what, middle.Round(time.Millisecond), longest.Round(time.Millisecond))
	if longest >= soon {
		return fmt.Errorf("%s: %v", what, longest)
	}
	return nil
}
