package supervise

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain lets this binary be a supervising process, as the cluster's own are.
func TestMain(m *testing.M) {
	if os.Args[0] == Name {
		os.Exit(Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// supervising runs a supervising process with this standard input, and returns
// what it said and its exit code.
func supervising(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = Name
	var out, errs strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestUnknownArguments(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"keeper"}, {"keeper", "{}", "more"}, {"node"}, {"node", "/a", "/b"}, {"enter"}, {"enter", "/a", "1"}, {"help"}} {
		stdout, stderr, code := supervising(t, "", args...)
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, Name+": want keeper CONFIG, node DIRECTORY") {
			t.Errorf("%q: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
}

func TestArgumentsThatLeadNowhere(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{"", []string{"node", none}, "wait for the keeper: EOF"},
		{goAhead, []string{"node", none}, "read the cluster's configuration: open " + none},
	} {
		stdout, stderr, code := supervising(t, c.stdin, c.args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: want %q, got exit code %d\n%s%s", c.args, c.want, code, stdout, stderr)
		}
	}
}

// What keeps a cluster from coming up is for the test that waits, as a report.
func TestAKeeperReportsWhyThereIsNoCluster(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for config, want := range map[string]string{
		`{"Level":"api","Base":"` + none + `"}`: none,
		"nonsense":                              "read the configuration: invalid character",
	} {
		stdout, stderr, code := supervising(t, "", "keeper", config)
		if code != 0 || stderr != "" || !strings.HasPrefix(stdout, `{"Error":"`) || !strings.Contains(stdout, want) || strings.Count(stdout, "\n") != 1 {
			t.Errorf("%s: exit code %d\n%s%s", config, code, stdout, stderr)
		}
	}
}

func TestUntilEOF(t *testing.T) {
	r, w := io.Pipe()
	ctx := untilEOF(r)
	if _, err := w.Write(make([]byte, 100<<10)); err != nil { // is read, and means nothing
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Error("ended by what was written")
	}
	w.Close()
	<-ctx.Done()
}

func TestAwait(t *testing.T) {
	notYet := errors.New("not yet")
	synctest.Test(t, func(t *testing.T) {
		n := &node{daemons: newDaemons("")}
		ctx, cancel := context.WithTimeout(t.Context(), startWithin)
		defer cancel()
		calls := 0
		begin := time.Now()
		if err := n.await(ctx, "it", func(context.Context) error {
			if calls++; calls < 4 {
				return notYet
			}
			return nil
		}); err != nil || calls != 4 || time.Since(begin) < 3*firstPause || time.Since(begin) > 5*firstPause {
			t.Errorf("%d calls in %v, %v", calls, time.Since(begin), err)
		}
		died := errors.New("etcd ended")
		n.ended <- died
		if err := n.await(ctx, "it", func(context.Context) error { return notYet }); !errors.Is(err, died) {
			t.Errorf("a daemon ended: %v", err)
		}
		err := n.await(ctx, "it to be so", func(context.Context) error { return notYet })
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, notYet) || !strings.Contains(err.Error(), "wait for it to be so") {
			t.Errorf("the time is up: %v", err)
		}
		if took := time.Since(begin); took < startWithin || took > startWithin+2*lastPause {
			t.Errorf("it took %v", took)
		}
	})
}
