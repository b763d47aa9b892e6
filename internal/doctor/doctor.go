// Package doctor runs checks: each looks at one thing that can be wrong, and
// says what it found, by which evidence, and what to do.
//
// Words: a [Check] has an ID such as check.scanner.disk; what it returns is a
// [Finding], with a [State] of four. "could not tell" is one of them: a check that
// could not see what it needed, panicked, or did not return in its time has found
// nothing out, which is neither good nor bad. A [Report] is of all checks that were asked for.
//
// Hazards:
//
//   - A check that does not return when its context ends is left running, since
//     nothing can end it. While it runs, asking for it again does not start
//     another: there is at most one such goroutine for each check.
//   - What a check shows ends up in tickets: no secrets.
//
// This package knows no domain. Checks are made by the packages that know what
// to look at; how a report is printed is up to the command line.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// State is what a check found out.
type State string

// The states, from the best to the worst for a report as a whole: what is not
// known may be a failure, so it weighs more than a warning.
const (
	OK      State = "ok"
	Warn    State = "warn"
	Unknown State = "could not tell"
	Fail    State = "fail"
)

// States are all of them, from the best to the worst.
var States = []State{OK, Warn, Unknown, Fail}

// Worse is the worse of two states. One that is none of the four counts as [Unknown].
func Worse(a, b State) State {
	return States[max(rank(a), rank(b))]
}

func rank(s State) int {
	if i := slices.Index(States, s); i >= 0 {
		return i
	}
	return slices.Index(States, Unknown)
}

// Check looks at one thing.
type Check struct {
	// ID is words of small letters and dashes, with dots between them.
	ID string
	// Title says in a few words what it looks at.
	Title string
	// Run looks. It should return soon after ctx has ended.
	Run func(ctx context.Context) Finding
}

// Finding is what a check found.
type Finding struct {
	State State `json:"state"`
	// Summary is one sentence.
	Summary string `json:"summary"`
	// Evidence is what the state follows from.
	Evidence []Evidence `json:"evidence,omitempty"`
	// Cause is the likely reason, empty where the state is ok.
	Cause string `json:"cause,omitempty"`
	// Fix are commands as they are typed, in their order.
	Fix []string `json:"fix,omitempty"`
	// Runbook is where to read on.
	Runbook string `json:"runbook,omitempty"`
	// Verify is a command that shows whether the fix has helped.
	Verify string `json:"verify,omitempty"`
}

// Evidence is one fact.
type Evidence struct {
	What  string `json:"what"`
	Value string `json:"value"`
	// Unit is MiB, s, %, and so on; empty for texts and counts.
	Unit string `json:"unit,omitempty"`
	// Source is who says so.
	Source string `json:"source"`
}

// Result is a check's finding.
type Result struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Finding
	// Seconds is how long it took.
	Seconds float64 `json:"seconds"`
}

// Report is what all checks found that were asked for.
type Report struct {
	// State is the worst of them.
	State  State     `json:"state"`
	At     time.Time `json:"at"`
	Checks []Result  `json:"checks"`
}

// checkTime bounds each check. They look at what is there, and wait for a database at most.
const checkTime = 10 * time.Second

// ErrNoCheck is matched by the error for an ID that no check has.
var ErrNoCheck = errors.New("no such check")

// Doctor has checks to run. It is safe for concurrent use.
type Doctor struct {
	checks []Check
	log    *slog.Logger

	mu      sync.Mutex
	running map[string]*call // by ID
}

var checkID = regexp.MustCompile(`^check(\.[a-z0-9]+(-[a-z0-9]+)*)+$`)

// New makes a doctor of checks; log gets the stack of those that panic. The
// error is about an ID that is malformed or there twice.
func New(log *slog.Logger, checks ...Check) (*Doctor, error) {
	seen := map[string]bool{}
	for _, c := range checks {
		if !checkID.MatchString(c.ID) || seen[c.ID] || c.Run == nil {
			return nil, fmt.Errorf("check %q: its ID is malformed or is there twice, or it does nothing", c.ID)
		}
		seen[c.ID] = true
	}
	return &Doctor{checks: checks, log: log, running: map[string]*call{}}, nil
}

// Run runs the checks with these IDs, or below them (check.scanner means all
// of the scanner's), all at the same time; without any, all that there are. An
// ID that means no check matches [ErrNoCheck].
func (d *Doctor) Run(ctx context.Context, ids []string) (Report, error) {
	chosen, err := d.choose(ids)
	if err != nil {
		return Report{}, err
	}
	r := Report{State: OK, At: time.Now().UTC(), Checks: make([]Result, len(chosen))}
	var wait sync.WaitGroup
	for i, c := range chosen {
		wait.Go(func() { r.Checks[i] = d.run(ctx, c) })
	}
	wait.Wait()
	for _, c := range r.Checks {
		r.State = Worse(r.State, c.State)
	}
	return r, nil
}

func (d *Doctor) choose(ids []string) ([]Check, error) {
	if len(ids) == 0 {
		return d.checks, nil
	}
	var chosen []Check
	for _, c := range d.checks {
		if slices.ContainsFunc(ids, func(id string) bool { return means(id, c.ID) }) {
			chosen = append(chosen, c)
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(d.checks, func(c Check) bool { return means(id, c.ID) }) {
			var all []string
			for _, c := range d.checks {
				all = append(all, c.ID)
			}
			return nil, fmt.Errorf("%q: %w; there are %s", id, ErrNoCheck, strings.Join(all, ", "))
		}
	}
	return chosen, nil
}

func means(id, check string) bool {
	return id == check || strings.HasPrefix(check, strings.TrimSuffix(id, ".")+".")
}

// run runs one check, for so long as it may take.
func (d *Doctor) run(ctx context.Context, c Check) Result {
	start := time.Now()
	r := Result{ID: c.ID, Title: c.Title, Finding: d.find(ctx, c)}
	r.Seconds = time.Since(start).Seconds()
	r.State = cmp.Or(r.State, Unknown)
	if !slices.Contains(States, r.State) {
		r.Summary, r.State = fmt.Sprintf("the check said %q, which is no state: %s", r.State, r.Summary), Unknown
	}
	return r
}

// find asks a check, or waits with others for one that is being asked.
func (d *Doctor) find(ctx context.Context, c Check) Finding {
	call := d.call(ctx, c)
	timer := time.NewTimer(time.Until(call.began.Add(checkTime)))
	defer timer.Stop()
	select {
	case <-call.done:
		return call.finding
	case <-timer.C:
		return unknown("the check has been running since %s and does not return", call.began.UTC().Format(time.RFC3339))
	case <-ctx.Done():
		return unknown("the check was interrupted: %v", context.Cause(ctx))
	}
}

// call is one run of a check, which several may wait for.
type call struct {
	began   time.Time
	done    chan struct{}
	finding Finding // once done is closed
}

// call starts a check, unless it is running. Whoever asked first may go away without harm to the others.
func (d *Doctor) call(ctx context.Context, c Check) *call {
	d.mu.Lock()
	defer d.mu.Unlock()
	if running, ok := d.running[c.ID]; ok {
		return running
	}
	r := &call{began: time.Now(), done: make(chan struct{})}
	d.running[c.ID] = r
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTime)
	go func() {
		defer cancel()
		r.finding = d.guarded(ctx, c)
		d.mu.Lock()
		delete(d.running, c.ID)
		d.mu.Unlock()
		close(r.done)
	}()
	return r
}

// guarded runs a check and catches its panic.
func (d *Doctor) guarded(ctx context.Context, c Check) (f Finding) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("a check panicked", "check", c.ID, "panic", p, "stack", stack())
			f = unknown("the check broke: %v; this is a defect of Stella's, and the server's log has more", p)
		}
	}()
	return c.Run(ctx)
}

func unknown(format string, args ...any) Finding {
	return Finding{State: Unknown, Summary: fmt.Sprintf(format, args...)}
}
