package pods

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/kube"
	"stella/internal/rdev"
	"stella/internal/rdev/run"
)

const (
	// killedCode is what a program that was ended by SIGKILL has in a pod.
	killedCode = 137
	// statusTimeout is how long a kubelet may take to report that a container has ended: it looks every second.
	statusTimeout = 6 * time.Second
	// statusAgain is how often the API server is asked in that time.
	statusAgain = 500 * time.Millisecond
	// oomKilled is how a kubelet says that a container ended for want of memory.
	oomKilled = "OOMKilled"
)

// state is what the API has of a container.
type state struct {
	id    string
	limit int64 // 0 is none
	// ends are its last ends, by ID.
	ends map[string]string
}

// look asks for the container's state; the error says why no command can run in it.
func (c *Container) look(ctx context.Context) (state, error) {
	p := c.project
	pod, err := kube.Get[kube.Pod](ctx, c.runner.Kube, kube.Query{Resource: kube.Pods, Namespace: p.Namespace}, p.PodName)
	if err != nil {
		return state{}, err
	}
	s := state{ends: map[string]string{}}
	for _, spec := range pod.Spec.Containers {
		if spec.Name == p.Container {
			s.limit = int64(spec.Resources.Limits.Memory)
		}
	}
	for _, status := range pod.Status.Containers {
		if status.Name != p.Container {
			continue
		}
		for _, t := range []*kube.Terminated{status.State.Terminated, status.Last.Terminated} {
			if t != nil {
				s.ends[t.ID] = t.Reason
			}
		}
		s.id = status.ID
		if status.State.Running == nil {
			return s, fmt.Errorf("container %s of pod %s does not run now", p.Container, p.PodName)
		}
		return s, nil
	}
	return s, fmt.Errorf("pod %s has no container %q that was started", p.PodName, p.Container)
}

// containerEnd waits until the API tells how the container ended that the command ran in, and says so; "" is that it did not.
func (a *attempt) containerEnd(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statusTimeout)
	defer cancel()
	again := time.NewTicker(statusAgain)
	defer again.Stop()
	for {
		now, err := a.look(ctx)
		if reason, ok := now.ends[a.before.id]; ok {
			return reason
		}
		if errors.Is(err, kube.ErrNotFound) {
			return ""
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ""
		}
	}
}

// tell says how the command ended, and ends what is left of it.
func (a *attempt) tell(ctx context.Context) rdev.End {
	if !a.hello.done {
		return a.tellNotStarted()
	}
	after, err := a.tidy(ctx, a.spec.ID, "KILL", a.hello.group)
	if err != nil { // the container has ended, say
		a.runner.Log.Debug("what a command left could not be ended", "id", a.spec.ID, "error", err)
	}
	end := a.how()
	killed := int64(0)
	if a.hello.kills >= 0 && after > a.hello.kills {
		killed = after - a.hello.kills
	}
	// Where the kernel kills a container as a whole, there is nobody left to say so but the kubelet.
	if gone := end.ExitCode == killedCode || end.Reason == rdev.ReasonLost; killed == 0 && gone && !a.forced {
		if a.containerEnd(ctx) == oomKilled {
			killed = 1
		}
	}
	if killed > 0 {
		a.tellOOM(&end, killed)
	}
	return end
}

// how is the end without a look at memory.
func (a *attempt) how() rdev.End {
	code, end := exitOf(a.err)
	if end == nil {
		end = &rdev.End{Reason: rdev.ReasonExit, ExitCode: code, Detail: exitSentence(code)}
	}
	if end.Reason == rdev.ReasonFailed { // but it had begun: the container ended, say
		end.Reason, end.Detail = rdev.ReasonLost, "how it ended was not heard: "+end.Detail
	}
	if a.ended != "" {
		end.Reason, end.Detail = a.ended, a.why
		if a.forced {
			end.Detail += run.Forced
		}
	}
	return *end
}

// tellOOM adds that the kernel killed processes of the container.
func (a *attempt) tellOOM(end *rdev.End, kills int64) {
	end.OOM = &rdev.OOM{Limit: a.before.limit, Kills: kills}
	at := "and it has no limit of its own: the node, or the pod, had no more"
	if a.before.limit > 0 {
		at = "whose limit is " + bytesize.Text(a.before.limit)
	}
	switch {
	case a.ended != "":
		end.OOM.Survived = true
	case end.ExitCode == killedCode || end.Reason == rdev.ReasonLost:
		end.Reason, end.ExitCode = rdev.ReasonOOM, killedCode
		end.Detail = "out of memory: the kernel killed it, or a process of it, in the container, " + at
	default:
		end.OOM.Survived = true
		end.Detail += ", after the kernel had killed a process of the container for want of memory, " + at
	}
}

// tellNotStarted says why the command did not begin.
func (a *attempt) tellNotStarted() rdev.End {
	if a.ended != "" {
		return rdev.End{Reason: a.ended, ExitCode: -1, Detail: a.why + " before it was started"}
	}
	said := strings.TrimSpace(strings.ToValidUTF8(string(a.hello.early), "?"))
	var exit *exitError
	switch {
	case errors.As(a.err, &exit) && exit.code == noProgram && said != "":
		return failed(said)
	case errors.As(a.err, &exit) && exit.code == noDirectory:
		return failed("its directory cannot be used: " + said)
	case a.err == nil:
		return failed("the container's sh ended before the command began, with " + fmt.Sprintf("%q", said))
	}
	return failed(strings.TrimSuffix(a.err.Error()+": "+said, ": "))
}

// exitOf is the exit code of an exec, or the end that it had instead.
func exitOf(err error) (int, *rdev.End) {
	var exit *exitError
	var refused *refusedError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.code, nil
	case errors.As(err, &refused):
		end := failed(refused.message)
		return 0, &end
	}
	return 0, &rdev.End{Reason: rdev.ReasonLost, ExitCode: -1, Detail: "how it ended was not heard: " + err.Error()}
}

func failed(why string) rdev.End {
	return rdev.End{Reason: rdev.ReasonFailed, ExitCode: -1, Detail: strings.ReplaceAll(why, "\n", "; ")}
}

func exitSentence(code int) string {
	s := fmt.Sprintf("it ended by itself with exit code %d", code)
	if code > 128 && code < 128+65 {
		s += fmt.Sprintf(", which is what signal %d gives", code-128)
	}
	return s
}
