// Package checks are the doctor's checks of the scanner service: the memory of its workers,
// their health, what waits for them, and the disks they write to.
//
// A check reads what the service knows, through [Service], and judges it by
// thresholds that are constants here; docs/doctor.md lists them. It changes nothing.
//
// Hazards:
//
//   - Names of images are text from whoever asked for a scan, and end up in commands
//     that people paste: every one of them is quoted for the shell.
//   - A list of images or workers can be long. What is shown is bounded, and the
//     summary has the whole number.
package checks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/doctor"
	"stella/internal/scanner"
)

// Service is what the checks ask the scanner service. An error makes a check
// say that it could not tell, and why.
type Service interface {
	// Plan is the pools and settings in force.
	Plan(ctx context.Context) (scanner.Plan, error)
	// Workers are those of all instances.
	Workers(ctx context.Context) ([]scanner.Worker, error)
	// QueueStatus is what waits and runs.
	QueueStatus(ctx context.Context) (scanner.QueueStatus, error)
	// Incidents are the newest since then, at most limit.
	Incidents(ctx context.Context, since time.Time, limit int) ([]scanner.WorkerKill, error)
	// Quarantines are the images that are not tried again by themselves, at most limit, the newest first.
	Quarantines(ctx context.Context, limit int) ([]scanner.Quarantine, error)
}

// Directory is one that the service writes to.
type Directory struct {
	Name string // data, cache, temporary files
	Path string
}

// The IDs of the checks.
const (
	MemoryUsage  = "check.scanner.memory-usage"
	WorkerHealth = "check.scanner.worker-health"
	Queue        = "check.scanner.queue"
	Disk         = "check.scanner.disk"
)

// maxShown is how many workers, images or pools evidence names: about a screen.
const maxShown = 8

// All are the checks of a service and of the directories of this instance.
func All(s Service, dirs []Directory) []doctor.Check {
	return []doctor.Check{
		{ID: MemoryUsage, Title: "memory of the scanner's workers", Run: finish(MemoryUsage, memoryUsage{s}.run)},
		{ID: WorkerHealth, Title: "health of the scanner's workers", Run: finish(WorkerHealth, workerHealth{s}.run)},
		{ID: Queue, Title: "scans that wait for a worker", Run: finish(Queue, queue{s}.run)},
		{ID: Disk, Title: "disks that the scanner writes to", Run: finish(Disk, disk{s, dirs, statfs}.run)},
	}
}

// finish gives a check the fields that all findings have: what to read, how to
// verify, and no cause or fix where nothing is wrong.
func finish(id string, run func(ctx context.Context) (doctor.Finding, error)) func(ctx context.Context) doctor.Finding {
	return func(ctx context.Context) doctor.Finding {
		f, err := run(ctx)
		if err != nil {
			f = doctor.Finding{
				State: doctor.Unknown, Summary: fmt.Sprintf("the service could not be asked: %v", err),
				Cause: "the database does not answer, or not in time",
				Fix:   []string{"stella scanner status"},
			}
		}
		if f.State == doctor.OK {
			f.Cause, f.Fix = "", nil
		}
		f.Runbook = "docs/doctor.md#" + strings.ReplaceAll(id, ".", "")
		f.Verify = "stella doctor --check " + id
		return f
	}
}

// finding collects what is wrong, the worst first.
type finding struct {
	doctor.Finding
	what []string // what the state follows from, as parts of a sentence
}

// say notes something that is wrong. The first that is as bad as it gets gives the cause.
func (f *finding) say(s doctor.State, cause, format string, args ...any) {
	part := fmt.Sprintf(format, args...)
	if worse := doctor.Worse(f.State, s); worse != f.State || f.Cause == "" {
		f.State, f.Cause = worse, cause
		f.what = append([]string{part}, f.what...)
		return
	}
	f.what = append(f.what, part)
}

func (f *finding) show(e ...doctor.Evidence) { f.Evidence = append(f.Evidence, e...) }

// do adds commands to the fix, each once.
func (f *finding) do(commands ...string) {
	for _, c := range commands {
		if !slices.Contains(f.Fix, c) {
			f.Fix = append(f.Fix, c)
		}
	}
}

// end makes the finding; fine is the summary where nothing is wrong.
func (f *finding) end(fine string) doctor.Finding {
	f.Summary = fine
	if len(f.what) > 0 {
		f.Summary = strings.Join(f.what, "; ")
	}
	return f.Finding
}

func begin() *finding { return &finding{Finding: doctor.Finding{State: doctor.OK}} }

// count is a number with the words for one and for many.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// quote makes one word of the shell of any text.
func quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:@+-"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// growPool are the commands that give a pool's workers another limit.
func growPool(p scanner.Pool, memory int64) []string {
	size := bytesize.Size(memory)
	if p.Name == scanner.DefaultPool {
		return []string{fmt.Sprintf("stella scanner config set worker.memory_limit %s", size), "stella scanner workers restart --pool " + p.Name}
	}
	return []string{fmt.Sprintf("stella scanner workers add --pool %s --memory %s --count %d", p.Name, size, p.Count), "stella scanner workers restart --pool " + p.Name}
}

// addWorkers is the command that gives a pool one worker more.
func addWorkers(p scanner.Pool) string {
	if p.Name == scanner.DefaultPool {
		return fmt.Sprintf("stella scanner config set worker.count %d", p.Count+1)
	}
	return fmt.Sprintf("stella scanner workers add --pool %s --memory %s --count %d", p.Name, bytesize.Size(p.Memory), p.Count+1)
}

// pick is the pool with that name, or one that has only the name.
func pick(p scanner.Plan, name string) scanner.Pool {
	if pool, ok := p.Pool(name); ok {
		return pool
	}
	return scanner.Pool{Name: name, Count: 1}
}
