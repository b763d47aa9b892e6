package incidents

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"stella/internal/client"
	"stella/internal/incident"
)

// stellad is a service as it is released, which can be killed.
type stellad struct {
	*rig
	cmd  *exec.Cmd
	asks *client.Client
}

func (r *rig) stellad() *stellad {
	r.Helper()
	s := &stellad{rig: r}
	var err error
	if s.asks, err = client.New(client.Options{Address: s.address(), UserAgent: "test"}); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(s.asks.Close)
	r.Cleanup(func() { s.end(syscall.SIGTERM) })
	return s
}

func (s *stellad) address() string { return "unix://" + filepath.Join(s.dir, "d") }

func (s *stellad) start() {
	s.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "stellad.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(programs.Path(s, "stellad"), "--data-dir", filepath.Join(s.dir, "data"), "--socket", filepath.Join(s.dir, "d"), "--admin", "")
	s.cmd.Stderr = log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.until("stellad answers", func() bool {
		_, err := s.asks.Incidents(s.Context(), incident.Filter{})
		return err == nil
	})
}

func (s *stellad) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	if err := s.cmd.Wait(); err != nil && sig == syscall.SIGTERM {
		s.Errorf("stellad ended with %v", err)
	}
	s.cmd = nil
}

// has is what stellad has of the node's incident.
func (s *stellad) has(id string) (incident.Details, error) { return s.asks.Incident(s.Context(), id) }

// events are the IDs of a timeline.
func events(d incident.Details) map[string]bool {
	ids := map[string]bool{}
	for _, e := range d.Timeline {
		ids[e.ID] = true
	}
	return ids
}

// What the agent tells is in stellad in the end, each event once, whoever of the two dies meanwhile.
func TestSender(t *testing.T) {
	r := newRig(t)
	s := r.stellad()
	r.args = []string{"--incidents-to", s.address()}
	s.start()
	r.start()
	r.kill(2)
	r.until("stellad has the first kills", func() bool {
		all := r.incidents()
		if len(all) == 0 {
			return false
		}
		d, err := s.has(all[0].ID)
		return err == nil && d.Kills == 2
	})
	id := r.incidents()[0].ID

	s.end(syscall.SIGKILL)
	r.kill(1)
	r.until("the agent has told of the next one", func() bool { return r.incidents()[0].Kills == 3 })
	r.kill(1)
	r.end(syscall.SIGKILL)
	s.start()
	r.start()
	var ours, theirs incident.Details
	r.until("both have the same", func() bool {
		var a, b error
		ours, a = r.asks.Incident(t.Context(), id)
		theirs, b = s.has(id)
		return errors.Join(a, b) == nil && ours.Kills == r.killed && maps.Equal(events(ours), events(theirs)) && ours.Cause != ""
	})
	if got := pids(t, theirs); int64(len(slices.Compact(got))) != r.killed || theirs.Kills != r.killed || theirs.Subject != ours.Subject || theirs.Cause != ours.Cause {
		t.Errorf("stellad has %+v, the agent %+v", theirs.Incident, ours.Incident)
	}
	if all, err := s.asks.Incidents(t.Context(), incident.Filter{Name: ours.Subject.Name}); err != nil || len(all) != 1 {
		t.Errorf("%v, %+v", err, all)
	}
}
