package cli

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"stella/internal/oom"
)

// What kubectl's users type: names to go on with, tables without a head, and short names of commands.
func TestHabitsOfKubectl(t *testing.T) {
	usage := []oom.Usage{{Cgroup: "/c", Container: oom.Container{Namespace: "ns", Pod: "web\x1b[2J", PodUID: "u", Name: "app"}}}
	f := newFakeAgent(t, map[string]any{
		"GET /v1/kills": someKills(), "GET /v1/containers": usage, "GET /v1/processes": []oom.ProcessUsage{}, "GET /v1/node": oom.NodeUsage{Name: "k8s-master"},
	})
	f.runAgent(t, "oom", "list", "-o", "name").want(t, ExitOK, "3f9a2c\n2b\n1a\n", "")
	f.runAgent(t, "pods", "-o", "name").want(t, ExitOK, "pod/kured-sentinel-gate-x7k2p\npod/web\uFFFD[2J\n", "")
	f.runAgent(t, "oom", "list", "--limit", "1", "-q", "-o", "name").want(t, ExitOK, "3f9a2c\n2b\n1a\n", "")
	for _, args := range [][]string{{"oom", "list"}, {"oom", "list", "-o", "wide"}, {"pods"}, {"top", "pods"}, {"top", "containers"}} {
		with, without := f.runAgent(t, args...), f.runAgent(t, append(args, "--no-headers")...)
		head, rest, _ := strings.Cut(with.stdout, "\n")
		if without.stdout != rest || rest == "" || strings.ToUpper(head) != head || without.code != ExitOK {
			t.Errorf("%q: without its head %q is %q", args, with.stdout, without.stdout)
		}
	}
	for short, long := range map[string]string{"pod": "pods", "po": "pods", "top pod": "top pods", "top po": "top pods", "top container": "top containers", "top process": "top processes", "top nodes": "top node", "top no": "top node"} {
		want, got := f.runAgent(t, strings.Fields(long)...), f.runAgent(t, strings.Fields(short)...)
		if got.code != ExitOK || got.stdout != want.stdout {
			t.Errorf("%s: exit %d, %q, want %q", short, got.code, got.stdout, want.stdout)
		}
	}
}

func TestNoKillsHaveNoNames(t *testing.T) {
	f := newFakeAgent(t, map[string]any{"GET /v1/kills": []oom.Kill{}, "GET /v1/containers": []oom.Usage{}})
	f.runAgent(t, "oom", "list", "-o", "name").want(t, ExitOK, "", "stella: no such kills\n")
	f.runAgent(t, "pods", "-o", "name").want(t, ExitOK, "", "stella: there are no pods\n")
}

// A reader that went away ends what would go on for ever.
func TestTopWatchOfAReaderThatWentAway(t *testing.T) {
	f := newFakeAgent(t, map[string]any{"GET /v1/containers": []oom.Usage{}})
	for _, format := range []string{"table", "wide", "json", "yaml"} {
		code := Main(t.Context(), Options{
			Args:   []string{"top", "containers", "-w", "--agent", f.address, "-o", format},
			Stdout: writerFunc(func([]byte) (int, error) { return 0, unix.EPIPE }), Stderr: io.Discard, Getenv: func(string) string { return "" },
		})
		if code != ExitOK {
			t.Errorf("%s: exit %d", format, code)
		}
	}
}
