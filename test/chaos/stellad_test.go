package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"stella/internal/cgroup"
	"stella/internal/client"
)

const (
	// patience bounds what is waited for while nothing gets further.
	patience = time.Minute
	// look is the pause between two looks at something that tells nobody.
	look = 20 * time.Millisecond
	// tail is how much of a log is shown, in bytes.
	tail = 4 << 10
)

// stellad is one server, whose process is killed and started again.
type stellad struct {
	*testing.T
	name   string // of the instance
	dir    string
	store  string
	bin    string
	args   []string
	client *client.Client

	mu   sync.Mutex
	life *life
}

// life is one process of a server.
type life struct {
	cmd   *exec.Cmd
	began time.Time
	ended chan struct{} // closed when it was waited for
	// wanted says that its end is no surprise.
	wanted bool
}

func newStellad(t *testing.T, name string) *stellad {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	// Not the test's own directory: paths of sockets have 107 bytes at most.
	dir, err := os.MkdirTemp("", "stella-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	s := &stellad{T: t, name: name, dir: dir, bin: bin}
	if s.client, err = client.New(client.Options{Address: "unix://" + s.path("socket"), UserAgent: "chaos"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.kill()
		s.client.Close()
		if t.Failed() {
			t.Logf("the end of the log of %s:\n%s", name, s.log())
		}
		if _, err := cgroup.RemoveLeft(s.group()); err != nil {
			t.Error(err)
		}
		os.RemoveAll(dir)
	})
	return s
}

func (s *stellad) path(name string) string { return filepath.Join(s.dir, name) }

// start starts a process.
func (s *stellad) start() {
	s.Helper()
	if err := s.tryStart(); err != nil {
		s.Fatal(err)
	}
}

func (s *stellad) tryStart() error {
	log, err := os.OpenFile(s.path("log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := append([]string{"--data-dir", s.path("data"), "--socket", s.path("socket"), "--admin", "", "--instance", s.name, "--store", s.store}, s.args...)
	l := &life{cmd: exec.Command(filepath.Join(s.bin, "stellad"), args...), ended: make(chan struct{})}
	l.cmd.Stderr = log
	l.cmd.Env = append(os.Environ(), s.mark())
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	l.began = time.Now()
	if err := l.cmd.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	s.life = l
	s.mu.Unlock()
	go func() {
		err := l.cmd.Wait()
		s.mu.Lock()
		wanted := l.wanted
		s.mu.Unlock()
		if !wanted {
			s.Errorf("stellad ended by itself: %v\n%s", err, s.log())
		}
		close(l.ended)
	}()
	return nil
}

// current is the process that runs now, or ran last; nil before the first.
func (s *stellad) current() *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.life
}

// signal sends a signal, and says that the process may end from now on.
func (s *stellad) signal(signal os.Signal) *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		s.life.wanted = true
		if err := s.life.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			s.Error(err)
		}
	}
	return s.life
}

// kill kills the process, if there is one, and waits for its end.
func (s *stellad) kill() {
	if l := s.signal(syscall.SIGKILL); l != nil {
		<-l.ended
	}
}

// end asks the process to end, as an administrator would.
func (s *stellad) end() {
	s.Helper()
	l := s.signal(syscall.SIGTERM)
	select {
	case <-l.ended:
	case <-time.After(patience):
		s.Fatalf("stellad did not end within %v", patience)
	}
	if code := l.cmd.ProcessState.ExitCode(); code != 0 {
		s.Errorf("stellad was asked to end: exit code %d\n%s", code, s.log())
	}
}

// set changes settings, in pairs, as soon as the server answers.
func (s *stellad) set(pairs ...string) {
	s.Helper()
	for i := 0; i < len(pairs); i += 2 {
		s.eventually("change a setting", func() error {
			_, err := s.client.Set(s.Context(), pairs[i], pairs[i+1])
			return err
		})
	}
}

// eventually tries until it works.
func (s *stellad) eventually(what string, try func() error) {
	s.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(look) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("%s: not within %v: %v", what, patience, err)
		}
	}
}

// mark is in the environment of the server's processes, and of no others.
func (s *stellad) mark() string { return "STELLA_CHAOS=" + s.dir }

// log is the end of what the server's processes wrote.
func (s *stellad) log() string {
	text, err := os.ReadFile(s.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-tail):])
}

// says counts a text in the server's log.
func (s *stellad) says(text string) int {
	all, err := os.ReadFile(s.path("log"))
	if err != nil {
		s.Error(err)
	}
	return bytes.Count(all, []byte(text))
}

// group is how the names of the workers' cgroups begin; see package server.
func (s *stellad) group() string {
	sum := sha256.Sum256([]byte(s.path("data")))
	return "worker-" + hex.EncodeToString(sum[:4])
}

// checkNothingIsLeft looks for what a server that has ended well must not leave, however
// its processes before that ended.
func (s *stellad) checkNothingIsLeft() {
	s.Helper()
	for _, dir := range []string{"tmp", "attempts", "layers"} {
		left, err := os.ReadDir(s.path(filepath.Join("data", dir)))
		if err != nil || len(left) > 0 {
			s.Errorf("%d files are left in %s, such as %v (%v)", len(left), dir, left[:min(3, len(left))], err)
		}
	}
	if n, err := cgroup.RemoveLeft(s.group()); n > 0 || err != nil {
		s.Errorf("%d cgroups of workers are left (%v)", n, err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		s.Error(err)
	}
	for _, process := range processes {
		environment, err := os.ReadFile(process)
		if err == nil && bytes.Contains(environment, []byte(s.mark())) {
			s.Errorf("a process is left: %s", process)
		}
	}
}
