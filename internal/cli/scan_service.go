package cli

import (
	"context"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"stella/internal/client"
	"stella/internal/scan"
	"stella/internal/scan/sbom"
	"stella/internal/scanner"
)

// submit lets a service scan, and waits for the result unless --detach was given.
func (c *scanImage) submit(ctx context.Context, service *client.Client, outputs []output) error {
	ref, err := absoluteRef(c.image)
	if err != nil {
		return err
	}
	job, err := service.Submit(ctx, scanner.Request{
		Image: ref, Platform: c.engine.platform, Pool: c.pool,
		Timeout: scanner.Duration(c.engine.timeout), Retry: c.retry, Attach: c.attach,
	})
	if err != nil {
		return err
	}
	switch {
	case c.retry:
		c.say("job %d, which is tried again", job.ID)
	case job.Requests > 1:
		c.say("job %d, which was asked for before and is shared", job.ID)
	default:
		c.say("job %d", job.ID)
	}
	if c.detach {
		return c.app.result(func(w io.Writer) error {
			_, err := fmt.Fprintln(w, job.ID)
			return err
		})
	}
	wait := jobWait{app: c.app, service: service, id: job.ID}
	return wait.run(ctx, c.engine.progress, outputs)
}

// jobWait waits for a job of a service and fetches its result.
type jobWait struct {
	app     *app
	service *client.Client
	id      int64

	mu       sync.Mutex
	image    string
	status   scanner.Status
	pool     string
	progress scanner.Progress
}

// run waits for the job and writes its SBOM in all the formats that were asked for.
func (j *jobWait) run(ctx context.Context, progress string, outputs []output) error {
	shown := j.app.showProgress(progress, j.look)
	defer shown.stop()
	job, err := j.wait(ctx)
	if err != nil {
		return err
	}
	if job.Status != scanner.StatusSucceeded {
		return &jobError{job.Job}
	}
	write := func(w io.Writer, f sbom.Format) error { return j.fetch(ctx, w, f) }
	if err := j.app.writeOutputs(outputs, shown.stop, write); err != nil {
		return err
	}
	if job.Result == nil {
		return nil
	}
	if job.Result.Attached != "" {
		j.app.note("the SBOM is attached to the image, as %s", job.Result.Attached)
	}
	if n := job.Result.Problems; n > 0 {
		return &partialError{count: n}
	}
	return nil
}

// wait returns the job when it has ended. The job goes on when ctx ends.
func (j *jobWait) wait(ctx context.Context) (scanner.JobDetails, error) {
	after := int64(0)
	for {
		job, err := j.service.Job(ctx, j.id)
		if err != nil {
			return job, j.lost(ctx, err)
		}
		j.now(&job)
		if job.Status.Final() {
			j.app.job = 0
			return job, nil
		}
		j.app.job = j.id
		// What lies before is no news; and the end of a job that is tried again is not its last.
		for _, e := range job.Events {
			after = max(after, e.ID)
		}
		if err := j.service.Events(ctx, j.id, after, j.event); err != nil {
			return job, j.lost(ctx, err)
		}
	}
}

// lost adds to an error that the job goes on, if it does; when the command is
// interrupted, that is said anyway.
func (j *jobWait) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil || j.app.job == 0 {
		return err
	}
	return fmt.Errorf("%w; %s", err, j.app.resume())
}

func (j *jobWait) now(job *scanner.JobDetails) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.image, j.status, j.pool, j.progress = job.Image, job.Status, job.Pool, scanner.Progress{}
	if job.Progress != nil {
		j.progress = *job.Progress
	}
}

// event takes note of one event, and says what a person should know of it.
func (j *jobWait) event(e scanner.Event) error {
	j.mu.Lock()
	j.status = e.Status
	if e.Progress != nil {
		j.progress = *e.Progress
	} else {
		j.progress = scanner.Progress{}
	}
	j.mu.Unlock()
	switch e.Kind {
	case scanner.EventOOM, scanner.EventRequeued:
		j.app.note("job %d: %s", j.id, e.Message)
	case scanner.EventStarted:
		j.app.log().Info("an attempt began", "job", j.id, "attempt", e.Attempt)
	}
	return nil
}

// look is what the job does now; see [look].
func (j *jobWait) look(fileLast bool) (stage, line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	name := fmt.Sprintf("job %d", j.id)
	switch {
	case j.status == "":
		return "", "asking for " + name
	case j.status == scanner.StatusPending:
		return "pending", fmt.Sprintf("%s waits for a worker of pool %s", name, j.pool)
	case j.status.Final():
		return "final", "fetching the result of " + name
	}
	s := snapshot(&j.progress)
	return "running " + string(s.Phase), progressText(j.image, s, fileLast)
}

// fetch writes the SBOM in one format; a table fits the terminal.
func (j *jobWait) fetch(ctx context.Context, w io.Writer, f sbom.Format) error {
	if width := j.app.resultWidth(); f.Name == "table" && width > 0 {
		w = &lineCutter{w: w, width: width}
	}
	return j.service.SBOM(ctx, j.id, f.String(), w)
}

// snapshot is a worker's progress as the engine tells it.
func snapshot(p *scanner.Progress) scan.Snapshot {
	s := scan.Snapshot{
		Phase: scan.Phase(p.Phase), Layers: p.Layers, Done: p.Done, Cached: p.Cached,
		Read: p.Read, Total: p.Total, Packages: p.Packages,
	}
	if s.Phase == "opening" || s.Layers == 0 {
		s.Phase = "" // the engine has not begun
	}
	if p.Layer >= 0 && p.Path != "" {
		s.Active = []scan.Active{{Layer: p.Layer, Path: p.Path}}
	}
	return s
}

// progressLine is a worker's progress in a line.
func progressLine(p *scanner.Progress) string {
	return progressText("the image", snapshot(p), false)
}

// jobError says that a job ended without a result.
type jobError struct{ job scanner.Job }

func (e *jobError) Error() string {
	text := fmt.Sprintf("%s was not scanned: job %d ended as %s", e.job.Image, e.job.ID, e.job.Status)
	if e.job.Reason != "" {
		text += fmt.Sprintf(" (%s)", e.job.Reason)
	}
	if e.job.Message != "" {
		text += ": " + e.job.Message
	}
	return text
}

// memory reports whether it was for want of memory.
func (e *jobError) memory() bool {
	switch e.job.Reason {
	case string(scanner.OutcomeOOM), string(scanner.OutcomeMemory), "quarantined":
		return true
	}
	return false
}

// lineCutter cuts lines of text that are wider than a terminal.
type lineCutter struct {
	w      io.Writer
	width  int
	column int
}

// Write implements io.Writer. A rune that is split between two writes counts as one.
func (c *lineCutter) Write(p []byte) (int, error) {
	kept := make([]byte, 0, len(p))
	for _, b := range p {
		if utf8.RuneStart(b) {
			c.column++
		}
		switch {
		case b == '\n':
			c.column = 0
			kept = append(kept, b)
		case c.column <= c.width:
			kept = append(kept, b)
		}
	}
	if _, err := c.w.Write(kept); err != nil {
		return 0, err
	}
	return len(p), nil
}
