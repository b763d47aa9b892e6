package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stella/internal/cgroup"
	"stella/internal/rdev"
	"stella/internal/rdev/run"
	"stella/internal/testkit"
)

// What cannot be started is told in a sentence, and leaves nothing.
func TestCannotBeStarted(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string, mode os.FileMode) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	plain := put("plain", "text", 0o644)
	noFormat := put("format", "text", 0o755)
	noInterpreter := put("interpreter", "#!/nonexistent/interpreter\n", 0o755)
	long := make([]string, 200)
	for i := range long {
		long[i] = "A" + strings.Repeat("B", i) + "=" + strings.Repeat("x", 100<<10)
	}
	r := runner(t, run.Options{})
	for name, c := range map[string]struct {
		spec run.Spec
		says string
	}{
		"nothing":          {run.Spec{}, "no program was named"},
		"empty":            {run.Spec{Argv: []string{""}}, "no program was named"},
		"both":             {run.Spec{Argv: []string{"true"}, Shell: "true"}, "give one"},
		"no such program":  {run.Spec{Argv: []string{"no-such-program"}}, `no program "no-such-program" in PATH (/usr/local/sbin`},
		"another PATH":     {run.Spec{Argv: []string{"sh"}, Env: []string{"PATH=/nonexistent:."}, Dir: dir}, "PATH (/nonexistent:.)"},
		"no such file":     {run.Spec{Argv: []string{"./no-such-file"}, Dir: dir}, "there is no such program"},
		"no directory":     {run.Spec{Argv: []string{plain}, Dir: dir + "/none"}, "its directory cannot be used"},
		"file as its":      {run.Spec{Argv: []string{plain}, Dir: plain}, "is no directory to begin in"},
		"relative":         {run.Spec{Argv: []string{plain}, Dir: "here"}, "no absolute path"},
		"not executable":   {run.Spec{Argv: []string{plain}}, "may not be run"},
		"a directory":      {run.Spec{Argv: []string{dir}}, "may not be run"},
		"no program":       {run.Spec{Argv: []string{noFormat}}, "no program of this machine"},
		"no interpreter":   {run.Spec{Argv: []string{noInterpreter}}, "interpreter"},
		"NUL in argument":  {run.Spec{Argv: []string{noFormat, "a\x00b"}}, "could not be started"},
		"NUL in variable":  {run.Spec{Argv: []string{noFormat}, Env: []string{"A=a\x00b"}}, "could not be started"},
		"too much":         {run.Spec{Argv: []string{noFormat}, Env: long}, "more than the kernel takes"},
		"too little limit": {run.Spec{Argv: []string{noFormat}, Memory: 1 << 20}, "give it at least 16.0 MiB"},
	} {
		end := r.Run(t.Context(), c.spec, func() { t.Errorf("%s: started", name) })
		if end.Reason != rdev.ReasonFailed || end.ExitCode != -1 || !strings.Contains(end.Detail, c.says) || strings.Contains(end.Detail, "\n") {
			t.Errorf("%s: %+v, want %q", name, end, c.says)
		}
	}
	nothingLeft(t)
}

// The most arguments in the least memory: what is charged before the program runs must not get this process killed.
func TestLeastMemory(t *testing.T) {
	r := runner(t, run.Options{})
	s := act("exit:0")
	s.Memory = run.MinMemory
	for range 46 { // 5.9 MiB
		s.Argv = append(s.Argv, strings.Repeat("x", 128<<10-1))
	}
	var stack syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_STACK, &stack); err != nil {
		t.Fatal(err)
	}
	most := stack
	most.Cur = stack.Max // the kernel takes a quarter of it, 6 MiB at most
	if err := syscall.Setrlimit(syscall.RLIMIT_STACK, &most); err != nil {
		t.Fatal(err)
	}
	end := r.Run(t.Context(), s, nil)
	if err := syscall.Setrlimit(syscall.RLIMIT_STACK, &stack); err != nil {
		t.Error(err)
	}
	t.Logf("%+v", end)
	if end.Reason == rdev.ReasonFailed && !strings.Contains(end.Detail, "more than the kernel takes") {
		t.Errorf("%+v", end)
	}
	nothingLeft(t)
}

// What an earlier process left is ended, and what another group has is not.
func TestRemoveLeft(t *testing.T) {
	testkit.Need(t, testkit.MemoryCgroup)
	r := runner(t, run.Options{Group: groups + "-left"})
	g, err := cgroup.New(groups+"-left", cgroup.Limit{Memory: limit})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_ = g.LimitProcesses(10) // where it can be
	child := again("stubborn")
	if err := g.Start(child); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- child.Wait() }()
	if n, err := r.RemoveLeft(); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := <-waited; err == nil {
		t.Error("it ended well")
	}
	nothingLeft(t)
}

func TestShell(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("there is no shell")
	}
	r := runner(t, run.Options{})
	end, out := output(t, r, run.Spec{Shell: `echo "$0" "$PWD" $HOME; exit 7`, Dir: "/usr", Memory: limit})
	if end.ExitCode != 7 || out != "/bin/sh /usr /usr\n" {
		t.Errorf("%+v, %q", end, out)
	}
	end, out = output(t, r, run.Spec{Argv: []string{"printf", "%s-", "$HOME;", "`id`", ""}})
	if end.ExitCode != 0 || out != "$HOME;-`id`--" {
		t.Errorf("%+v, %q", end, out)
	}
}
