package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"stella/internal/bytesize"
	"stella/internal/cgroup"
)

const (
	shell = "/bin/sh"
	// usualPath is where programs are looked for, unless the command's environment says otherwise.
	usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// firstToKill makes the kernel kill a process before all that do not say the same (proc_pid_oom_score_adj(5)).
	firstToKill = "1000"
	// drainTime bounds how long output is read after everything has been killed. What was written is in the pipes; only a
	// process that escaped can hold them open.
	drainTime = 5 * time.Second
)

// process is a command that runs.
type process struct {
	runner *Runner
	spec   Spec
	cmd    *exec.Cmd
	group  *cgroup.Group // nil where it has none
}

// start starts a command. The error is a sentence for people.
func (r *Runner) start(s Spec) (_ *process, err error) {
	cmd, err := r.command(s)
	if err != nil {
		return nil, err
	}
	p := &process{runner: r, spec: s, cmd: cmd}
	if err := p.makeGroup(); err != nil {
		return nil, err
	}
	if p.group != nil {
		err = p.group.StartFrom(cmd, giveUpPrivileges)
	} else {
		err = startWithoutGroup(cmd)
	}
	if err != nil {
		return nil, errors.Join(r.explain(cmd, err), p.close())
	}
	p.confine()
	return p, nil
}

// giveUpPrivileges is for the thread that starts a command, and ends then: no program that it, or what it starts, runs
// has more privileges than it has (PR_SET_NO_NEW_PRIVS(2const)). os/exec has no way to say so.
func giveUpPrivileges() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }

func startWithoutGroup(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		if err := giveUpPrivileges(); err != nil {
			done <- err
			return
		}
		done <- cmd.Start()
	}()
	return <-done
}

// makeGroup makes the command's cgroup, where that is possible.
func (p *process) makeGroup() error {
	r, s := p.runner, p.spec
	if r.support.Verdict != cgroup.Yes {
		return nil
	}
	limit := s.Memory
	if limit == 0 {
		limit = noLimit // a group all the same: it is how everything is found that has to end
	}
	if limit < MinMemory {
		return fmt.Errorf("its memory limit of %s is too little to start a program safely: give it at least %s",
			bytesize.Text(limit), bytesize.Text(MinMemory))
	}
	g, err := cgroup.New(r.Group, cgroup.Limit{Memory: limit})
	if err != nil {
		return err
	}
	p.group = g
	if err := g.LimitProcesses(r.Processes); err != nil {
		r.Log.Debug("the processes of a command are not bounded by its cgroup", "id", s.ID, "error", err)
	}
	return nil
}

// noLimit is more memory than there is, in bytes.
const noLimit = 1 << 50

// confine does what can only be done to a process that runs. What it starts from then on inherits it.
func (p *process) confine() {
	pid := p.cmd.Process.Pid
	// Errors are of a process that has ended already, or of a machine that does not have it.
	_ = killFirst(pid)
	for range rounds {
		if !p.killOthersFirst() {
			break
		}
	}
	if u := p.runner.User; u != nil && u.UID != 0 {
		// For all processes of that user together, so only for one who is there for this.
		n := uint64(p.runner.Processes)
		_ = unix.Prlimit(pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: n, Max: n}, nil)
	}
}

// rounds bounds how often it is looked for what a command started before it was confined.
const rounds = 10

// killOthersFirst does to all processes of the command what was done to the first, and reports whether there was one to which it had not been:
// otherwise the kernel would kill the first in place of one of its children that is too large.
func (p *process) killOthersFirst() (found bool) {
	if p.group == nil {
		return false
	}
	pids, _ := p.group.PIDs() // none is nothing to do
	for _, pid := range pids {
		now, err := os.ReadFile(adjustment(pid))
		if err == nil && strings.TrimSpace(string(now)) != firstToKill && killFirst(pid) == nil {
			found = true
		}
	}
	return found
}

func killFirst(pid int) error { return os.WriteFile(adjustment(pid), []byte(firstToKill), 0) }

func adjustment(pid int) string { return fmt.Sprintf("/proc/%d/oom_score_adj", pid) }

func (p *process) close() error {
	if p.group == nil {
		return nil
	}
	return p.group.Close()
}

// command makes the command, which has not been started.
func (r *Runner) command(s Spec) (*exec.Cmd, error) {
	argv := s.Argv
	if s.Shell != "" {
		if len(argv) > 0 {
			return nil, errors.New("it has both a program and a line for the shell: give one")
		}
		argv = []string{shell, "-c", s.Shell}
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("no program was named")
	}
	dir := s.Dir
	if dir == "" {
		dir = "/"
	}
	if err := checkDirectory(dir); err != nil {
		return nil, err
	}
	env := r.environment(dir, s.Env)
	path, err := find(argv[0], dir, env)
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: path, Args: argv, Dir: dir, Env: env,
		Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		WaitDelay:   drainTime,
	}
	if u := r.User; u != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	return cmd, nil
}

// environment is what every program needs, and what was asked for over it. Nothing is inherited.
func (r *Runner) environment(dir string, extra []string) []string {
	env := []string{"PATH=" + usualPath, "LANG=C.UTF-8", "SHELL=" + shell, "HOME=" + dir, "PWD=" + dir}
	if u := r.User; u != nil {
		if u.Home != "" {
			env = append(env, "HOME="+u.Home)
		}
		if u.Name != "" {
			env = append(env, "USER="+u.Name, "LOGNAME="+u.Name)
		}
	}
	return append(env, extra...)
}

func checkDirectory(dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("its directory %q is no absolute path", dir)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("its directory cannot be used: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no directory to begin in", dir)
	}
	return nil
}

// find is where a program is, as execvp(3) looks for it, but with the command's PATH and directory in place of this process's.
func find(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		if _, err := os.Stat(name); err != nil {
			return "", fmt.Errorf("there is no such program: %w", err)
		}
		return name, nil
	}
	path := ""
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path = value // the last counts
		}
	}
	for _, place := range filepath.SplitList(path) {
		if !filepath.IsAbs(place) {
			continue // a program that lies in the project is asked for by ./name
		}
		file := filepath.Join(place, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("there is no program %q in PATH (%s)", name, path)
}

// explain says why a program could not be started.
func (r *Runner) explain(cmd *exec.Cmd, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		as := "this service"
		if r.User != nil {
			as = fmt.Sprintf("user %d", r.User.UID)
		}
		return fmt.Errorf("%s may not be run in %s by %s: is it executable, and may both be entered? (%w)", cmd.Path, cmd.Dir, as, syscall.EACCES)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s is no program of this machine, and has no line #! that names its interpreter", cmd.Path)
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("its arguments and environment are more than the kernel takes (%w)", syscall.E2BIG)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s could not be started: it, or the interpreter that it names, is not there (%w)", cmd.Path, syscall.ENOENT)
	}
	return fmt.Errorf("it could not be started: %w", err)
}
