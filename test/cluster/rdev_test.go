package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"stella/internal/rdev"
	"stella/internal/rdev/pods"
	"stella/internal/rdev/projects"
	command "stella/internal/rdev/run"
	"stella/test/cluster"
)

// workshop are pods for commands: the first has the node's shell and programs, the second nothing but the hog.
const workshop = `
apiVersion: v1
kind: Pod
metadata: {name: workshop, labels: {rdev: "yes"}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: tools
    image: ` + cluster.Hog + `
    imagePullPolicy: Never
    args: [pause]
    env: [{name: PATH, value: "/bin:/"}, {name: OF_THE_POD, value: "kept"}]
    resources: {limits: {memory: 64Mi}}
    volumeMounts: [{name: bin, mountPath: /bin, readOnly: true}, {name: lib, mountPath: /lib, readOnly: true}, {name: lib64, mountPath: /lib64, readOnly: true}]
  volumes: [{name: bin, hostPath: {path: /usr/bin}}, {name: lib, hostPath: {path: /usr/lib}}, {name: lib64, hostPath: {path: /usr/lib64}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare, labels: {rdev: "yes"}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: ` + cluster.Hog + `, imagePullPolicy: Never, args: [pause], resources: {limits: {memory: 64Mi}}}]
`

// Commands in pods end as those on a machine do, as far as a cluster tells.
func TestCommandsInPods(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	ns := c.Namespace(t)
	c.Apply(t, ns, workshop)
	for _, name := range []string{"workshop", "bare"} {
		pod := &corev1.Pod{}
		pod.Namespace, pod.Name = ns, name
		running(t, c, pod)
	}
	client := connect(t, c.Kubeconfig)
	all, err := projects.New(projects.Options{Kube: client, Namespace: ns, Labels: "rdev=yes"})
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	in := func(name string, grace time.Duration) *pods.Container {
		t.Helper()
		p, err := all.Get(t.Context(), name)
		if err != nil || !p.Ready {
			t.Fatalf("%+v, %v", p, err)
		}
		return pods.New(pods.Options{Kube: client, Grace: grace}).In(p)
	}
	s := &shop{tools: in("workshop", 0), hasty: in("workshop", time.Second), bare: in("bare", 0)}
	t.Run("ends", s.ends)
	t.Run("what it gets", s.gets)
	t.Run("much output", s.much)
	t.Run("cannot be started", s.notStarted)
	t.Run("cancelled", s.cancelled)
	t.Run("left behind", s.leftBehind)
	t.Run("out of memory", s.outOfMemory)
	t.Run("without a shell", s.withoutShell)
}

// shop is where commands run.
type shop struct {
	tools, bare *pods.Container
	hasty       *pods.Container // tools, with a short grace
	ids         int
}

func (s *shop) id() string {
	s.ids++
	return fmt.Sprintf("command-%d", s.ids)
}

// run runs a command that ends by itself.
func (s *shop) run(t *testing.T, in *pods.Container, spec command.Spec) (end rdev.End, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	spec.ID, spec.Stdout, spec.Stderr = s.id(), &out, &errs
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	end = in.Run(ctx, spec, nil)
	return end, out.String(), errs.String()
}

func (s *shop) ends(t *testing.T) {
	for line, want := range map[string]int{"true": 0, "exit 3": 3, "kill -SEGV $$": 139, "exit 255": 255} {
		end, _, _ := s.run(t, s.tools, command.Spec{Shell: line})
		if end.Reason != rdev.ReasonExit || end.ExitCode != want || end.OOM != nil {
			t.Errorf("%s: %+v, want %d", line, end, want)
		}
	}
}

func (s *shop) gets(t *testing.T) {
	end, out, errs := s.run(t, s.tools, command.Spec{
		Shell: `pwd; echo "$PWD $OF_THE_POD $A"; cat; echo "and this" >&2; env`,
		Dir:   "/lib", Env: []string{"A=a 'quoted'\n\"$thing`id`"}, Stdin: strings.NewReader("input"),
	})
	if want := "/lib\n/lib kept a 'quoted'\n\"$thing`id`\ninput"; end.ExitCode != 0 || !strings.HasPrefix(out, want) || errs != "and this\n" {
		t.Errorf("%+v: %q, %q", end, out, errs)
	}
	for _, ours := range []string{"stella_", "SHLVL"} {
		if strings.Contains(out, ours) {
			t.Errorf("%s in %s", ours, out)
		}
	}
	if end, out, errs = s.run(t, s.tools, command.Spec{Argv: []string{"printf", "%s|", "-n", "$A", "", "a b\n", "*"}}); out != "-n|$A||a b\n|*|" {
		t.Errorf("%+v: %q, %q", end, out, errs)
	}
	// Input that nobody reads, and more of it than fits.
	if end, _, _ = s.run(t, s.tools, command.Spec{Argv: []string{"true"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}); end.ExitCode != 0 {
		t.Errorf("%+v", end)
	}
	if end, out, _ = s.run(t, s.tools, command.Spec{Argv: []string{"wc", "-c"}, Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}); out != "1048576\n" {
		t.Errorf("%+v: %q", end, out)
	}
}

func (s *shop) much(t *testing.T) {
	end, out, errs := s.run(t, s.tools, command.Spec{Shell: `seq 1 1000000; head -c 1000000 /dev/zero >&2`})
	if end.ExitCode != 0 || !strings.HasPrefix(out, "1\n2\n") || !strings.HasSuffix(out, "\n1000000\n") || len(out) != 6888896 || len(errs) != 1000000 {
		t.Errorf("%+v: %d, %d bytes", end, len(out), len(errs))
	}
	full := command.Spec{Shell: "yes", Stdout: failing{}, ID: s.id()}
	if end = s.tools.Run(t.Context(), full, nil); end.Reason != rdev.ReasonLost || !strings.Contains(end.Detail, "no room") {
		t.Errorf("%+v", end)
	}
	s.nothingRuns(t, "yes")
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no room") }

func (s *shop) notStarted(t *testing.T) {
	for name, c := range map[string]struct {
		spec command.Spec
		says string
	}{
		"no program":   {command.Spec{Argv: []string{"no-such-program"}}, "there is no program no-such-program in the container's PATH"},
		"no directory": {command.Spec{Argv: []string{"true"}, Dir: "/none"}, "its directory cannot be used"},
		"variable":     {command.Spec{Argv: []string{"true"}, Env: []string{"A-B=1"}}, "no name of a variable"},
		"code":         {command.Spec{Argv: []string{"true"}, Env: []string{"A;id=1"}}, "no name of a variable"},
		"nothing":      {command.Spec{}, "no program was named"},
	} {
		end, out, errs := s.run(t, s.tools, c.spec)
		if end.Reason != rdev.ReasonFailed || end.ExitCode != -1 || !strings.Contains(end.Detail, c.says) || out != "" || errs != "" {
			t.Errorf("%s: %+v, %q, %q", name, end, out, errs)
		}
	}
}

// begin runs a command, and cancels it once it has written something.
func (s *shop) begin(t *testing.T, in *pods.Container, spec command.Spec, then func(cancel context.CancelFunc)) (rdev.End, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &firstWrite{begun: make(chan struct{})}
	spec.Stdout = out
	if spec.ID == "" {
		spec.ID = s.id()
	}
	var other sync.WaitGroup
	other.Go(func() {
		select {
		case <-out.begun:
		case <-ctx.Done():
		}
		then(cancel)
	})
	started := false
	end := in.Run(ctx, spec, func() { started = true })
	other.Wait()
	if !started {
		t.Error("not told that it was started")
	}
	return end, out.String()
}

// firstWrite says when something was written.
type firstWrite struct {
	mu sync.Mutex
	bytes.Buffer
	once  sync.Once
	begun chan struct{}
}

func (w *firstWrite) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.once.Do(func() { close(w.begun) })
	return w.Buffer.Write(p)
}

// nothingRuns checks that no process of that name is in the container.
func (s *shop) nothingRuns(t *testing.T, name string) {
	t.Helper()
	end, out, _ := s.run(t, s.tools, command.Spec{Shell: `cat /proc/[0-9]*/comm; true`})
	if end.ExitCode != 0 || strings.Contains("\n"+out, "\n"+name+"\n") || !strings.Contains(out, "hog") {
		t.Errorf("%+v: %q", end, out)
	}
}

func (s *shop) cancelled(t *testing.T) {
	stop := func(cancel context.CancelFunc) { cancel() }
	end, out := s.begin(t, s.tools, command.Spec{Shell: `trap 'echo tidied up; exit 6' TERM; echo ready; while :; do sleep 0.1; done`}, stop)
	if end.Reason != rdev.ReasonCancelled || end.ExitCode != 6 || out != "ready\ntidied up\n" {
		t.Errorf("%+v: %q", end, out)
	}
	// What it started has a session of its own, and ignores SIGTERM, as it does itself.
	end, out = s.begin(t, s.hasty, command.Spec{Shell: `trap '' TERM; setsid sleep 1000 & echo ready; sleep 1000; sleep 1000`}, stop)
	if end.Reason != rdev.ReasonCancelled || end.ExitCode != 137 || !strings.Contains(end.Detail, "it was killed") {
		t.Errorf("%+v: %q", end, out)
	}
	s.nothingRuns(t, "sleep")
	end, _, _ = s.run(t, s.tools, command.Spec{Argv: []string{"sleep", "1000"}, Timeout: 2 * time.Second})
	if end.Reason != rdev.ReasonTimeout || end.ExitCode != 143 {
		t.Errorf("%+v", end)
	}
	s.nothingRuns(t, "sleep")
}

func (s *shop) leftBehind(t *testing.T) {
	end, out, _ := s.run(t, s.tools, command.Spec{Shell: `sleep 1000 & setsid sleep 1000 >/dev/null 2>&1 & echo done; exit 2`})
	if end.Reason != rdev.ReasonExit || end.ExitCode != 2 || out != "done\n" {
		t.Errorf("%+v: %q", end, out)
	}
	s.nothingRuns(t, "sleep")
	id := s.id()
	end, _ = s.begin(t, s.tools, command.Spec{ID: id, Shell: "trap '' TERM; echo ready; sleep 1000"}, func(context.CancelFunc) {
		if err := s.tools.RemoveLeft(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
	if end.Reason != rdev.ReasonExit || end.ExitCode != 137 || end.OOM != nil {
		t.Errorf("%+v", end)
	}
	s.nothingRuns(t, "sleep")
}

func (s *shop) outOfMemory(t *testing.T) {
	const limit = 64 << 20
	end, _, _ := s.run(t, s.tools, command.Spec{Shell: `hog hold 200Mi; code=$?; sleep 1; exit $((code == 137 ? 3 : 4))`})
	if o := end.OOM; o == nil || end.Reason != rdev.ReasonExit || end.ExitCode != 3 || !o.Survived || o.Limit != limit || o.Kills != 1 {
		t.Errorf("survived: %+v, %+v", end, o)
	}
	end, _, _ = s.run(t, s.tools, command.Spec{Argv: []string{"hog", "hold", "200Mi"}})
	if o := end.OOM; o == nil || end.Reason != rdev.ReasonOOM || end.ExitCode != 137 || o.Survived || o.Limit != limit || !strings.Contains(end.Detail, "64.0 MiB") {
		t.Errorf("killed: %+v, %+v", end, o)
	}
	// Killed by somebody, but not for want of memory.
	end, _, _ = s.run(t, s.tools, command.Spec{Shell: "kill -KILL $$"})
	if end.OOM != nil || end.Reason != rdev.ReasonExit || end.ExitCode != 137 {
		t.Errorf("by hand: %+v", end)
	}
}

func (s *shop) withoutShell(t *testing.T) {
	if end, out, errs := s.run(t, s.bare, command.Spec{Argv: []string{"/hog", "exit", "5"}}); end.Reason != rdev.ReasonExit || end.ExitCode != 5 {
		t.Errorf("%+v, %q, %q", end, out, errs)
	}
	for name, spec := range map[string]command.Spec{
		"shell": {Shell: "true"}, "directory": {Argv: []string{"/hog"}, Dir: "/"}, "variables": {Argv: []string{"/hog"}, Env: []string{"A=1"}}, "no program": {Argv: []string{"/none"}},
	} {
		if end, _, _ := s.run(t, s.bare, spec); end.Reason != rdev.ReasonFailed || end.Detail == "" {
			t.Errorf("%s: %+v", name, end)
		}
	}
	end, out := s.begin(t, s.bare, command.Spec{Argv: []string{"/hog", "hold", "1Mi"}}, func(cancel context.CancelFunc) { cancel() })
	if end.Reason != rdev.ReasonCancelled || !strings.Contains(end.Detail, "may still run") || !strings.Contains(out, "hog: ") {
		t.Errorf("%+v, %q", end, out)
	}
}
