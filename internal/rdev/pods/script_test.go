package pods

import (
	"bytes"
	"errors"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"

	"stella/internal/rdev/run"
)

// local runs a wrapper as a container would, in a session of its own.
func local(t *testing.T, s run.Spec) (g *greeting, stdout string, code int) {
	t.Helper()
	if _, err := osexec.LookPath("sh"); err != nil {
		t.Skip("there is no sh")
	}
	argv, err := wrap(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stdin = s.Stdin
	var all, errs, out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &all, &errs
	err = cmd.Run()
	var exit *osexec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	g = &greeting{id: s.ID, stdout: &out, began: make(chan struct{}), kills: -1}
	for b := range bytes.SplitSeq(all.Bytes(), nil) { // one byte at a time
		if err := g.out(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.err(errs.Bytes()); err != nil {
		t.Fatal(err)
	}
	return g, out.String(), cmd.ProcessState.ExitCode()
}

func TestWrapper(t *testing.T) {
	g, out, code := local(t, run.Spec{
		ID: "id-1", Dir: "/usr", Env: []string{"A=$(id) '\"\n*", "B="},
		Argv: []string{"sh", "-c", `pwd; printf '%s|' "$A" "$B" "$` + Marker + `" "$@"; exit 4`, "sh", "", "x y", "*", "$(id)"},
	})
	if want := "/usr\n$(id) '\"\n*||id-1||x y|*|$(id)|"; code != 4 || out != want || g.group <= 1 || !g.done {
		t.Errorf("%d, %q, %+v; want %q", code, out, g, want)
	}
	// What is left in the group is ended, and input that nobody reads is.
	if _, out, code = local(t, run.Spec{ID: "1", Shell: "sleep 1000 & echo left; exit 2", Stdin: strings.NewReader(strings.Repeat("x", 1<<18))}); out != "left\n" || code != 2 {
		t.Errorf("%d, %q", code, out)
	}
	if g, out, code = local(t, run.Spec{ID: "1", Argv: []string{"no-such-program"}}); g.done || out != "" || code != noProgram || !strings.Contains(string(g.early), "no program no-such-program") {
		t.Errorf("%d, %q, %+v", code, out, g)
	}
	if g, out, code = local(t, run.Spec{ID: "1", Argv: []string{"true"}, Dir: "/none"}); g.done || out != "" || code != noDirectory {
		t.Errorf("%d, %q, %+v", code, out, g)
	}
}

func TestWrapRefuses(t *testing.T) {
	for name, s := range map[string]run.Spec{
		"nothing":        {},
		"both":           {Argv: []string{"a"}, Shell: "b"},
		"no variable":    {Argv: []string{"a"}, Env: []string{"A"}},
		"empty variable": {Argv: []string{"a"}, Env: []string{"=b"}},
		"code":           {Argv: []string{"a"}, Env: []string{"A;id=b"}},
		"option":         {Argv: []string{"a"}, Env: []string{"-p=b"}},
		"digit":          {Argv: []string{"a"}, Env: []string{"1A=b"}},
		"NUL":            {Argv: []string{"a\x00"}},
	} {
		if argv, err := wrap(s); err == nil {
			t.Errorf("%s: %q", name, argv)
		}
	}
}

// What is no greeting is an error, and never more than so much of it is held.
func TestGreetingOfAStranger(t *testing.T) {
	for _, text := range []string{"other 5\n", "id\n", "id x\n", "id 1\n", "id -5\n", "\n", strings.Repeat("x", maxGreeting+1)} {
		g := &greeting{id: "id", began: make(chan struct{})}
		if err := g.out([]byte(text)); err == nil || g.done || len(err.Error()) > 500 {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	g := &greeting{id: "id", began: make(chan struct{})}
	var err error
	for range 10 {
		err = errors.Join(err, g.err(make([]byte, chunk)))
	}
	if err == nil {
		t.Errorf("%d bytes of stderr are held", len(g.early))
	}
}

func TestStatus(t *testing.T) {
	for text, want := range map[string]string{
		`{"status": "Success"}`: "",
		`{"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": [{"reason": "ExitCode", "message": "3"}]}}`: "it ended with exit code 3",
		`{"status": "Failure", "reason": "InternalError", "message": "no sh"}`:                                                "no sh",
		`{"status": "Failure", "reason": "NonZeroExitCode", "message": "m", "details": {}}`:                                   "m",
		`[]`: "how the command ended cannot be read",
	} {
		err := parseStatus([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
