package analyze_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stella/internal/oom"
	"stella/internal/oom/analyze"
)

// brief is a kill in a line.
type brief struct {
	When, Process, Invoker, Container, Workload string
	Scope                                       oom.Scope
	Survived                                    string
	Confidence                                  oom.Confidence
	Witnesses                                   string
}

func briefly(k *oom.Kill) brief {
	b := brief{
		Process: k.Process.Comm, Invoker: k.Invoker, Scope: k.Limit.Scope, Confidence: k.Confidence, Workload: k.Container.Workload,
		Container: strings.Trim(k.Container.Namespace+"/"+k.Container.Pod+"/"+k.Container.Name, "/"),
	}
	if !k.Time.IsZero() {
		b.When = k.Time.UTC().Format(time.RFC3339)
	}
	if b.Container == "" && k.Container.ID != "" {
		b.Container = k.Container.ID[:12]
	}
	if k.MainSurvived != nil {
		b.Survived = map[bool]string{true: "yes", false: "no"}[*k.MainSurvived]
	}
	var all []string
	for _, w := range k.Witnesses {
		all = append(all, string(w))
	}
	b.Witnesses = strings.Join(all, " ")
	return b
}

func briefs(r analyze.Result) (all []brief) {
	for i := range r.Kills {
		all = append(all, briefly(&r.Kills[i]))
	}
	return all
}

// text analyzes logs given as texts.
func text(t *testing.T, o analyze.Options, logs ...string) analyze.Result {
	t.Helper()
	a := analyze.New(o)
	for i, log := range logs {
		if err := a.Reader(t.Context(), string(rune('a'+i)), strings.NewReader(log), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	return a.Result()
}

// wantBundle is what testdata/bundle holds: two nodes, several logs of the same kills, and a list of pods.
var wantBundle = []brief{
	{When: "2023-08-20T13:37:01Z", Process: "cart", Invoker: "cart", Container: "shop/cart-7d9c-x2x/cart", Workload: "Deployment/cart", Scope: oom.ScopeContainer, Survived: "no", Confidence: oom.Certain, Witnesses: "kernel-log runtime pod-status"},
	{When: "2023-08-20T13:40:00Z", Process: "batch", Scope: oom.ScopeNode, Confidence: oom.Strong, Witnesses: "kernel-log kubelet"},
	// Only dmesg has it, without a wall clock; the kills before it tell when the machine was booted.
	{When: "2023-08-20T13:40:12Z", Process: "sh", Scope: oom.ScopeUnknown, Confidence: oom.Strong, Witnesses: "kernel-log"},
	// The pod shows one restart, of the day before.
	{When: "2023-08-20T14:00:00Z", Process: "kubectl", Invoker: "kubectl", Container: "kube-system/gate-x1/gate", Workload: "DaemonSet/gate", Scope: oom.ScopePod, Survived: "yes", Confidence: oom.Certain, Witnesses: "kernel-log runtime"},
	{When: "2023-08-20T14:30:00Z", Container: "01f20f6be34a", Scope: oom.ScopeUnknown, Confidence: oom.Weak, Witnesses: "runtime"},
}

const bundle = "testdata/bundle"

// A bundle tells the same as a directory, as a tar, compressed, and with its files compressed in it.
func TestBundle(t *testing.T) {
	plain, packed := pack(t, false), pack(t, true)
	for name, path := range map[string]string{
		"directory": bundle, "tar": file(t, "b.tar", plain), "tar.gz": file(t, "b.tar.gz", squeeze(t, plain)), "tar of gz": file(t, "c.tar", packed),
	} {
		a := analyze.New(analyze.Options{Year: 2023})
		if err := a.Path(t.Context(), path); err != nil {
			t.Fatal(err)
		}
		r := a.Result()
		if diff := cmp.Diff(wantBundle, briefs(r)); diff != "" {
			t.Errorf("%s: - want + got\n%s", name, diff)
		}
		var unread []string
		for _, u := range r.Unread {
			unread = append(unread, filepath.Base(u.Name)+": "+u.Reason[:10])
		}
		slices.Sort(unread)
		if name == "tar of gz" {
			unread = unread[:min(len(unread), 3)]
		}
		if diff := cmp.Diff([]string{"messages.xz: compressed", "nodes.yaml: Kubernetes", "system.journal: a file of "}, unread); diff != "" {
			t.Errorf("%s: not readable - want + got\n%s", name, diff)
		}
		if want := (analyze.Totals{Pods: 2, Certain: 2, Strong: 2, Weak: 1, Told: 6}); !cmp.Equal(want, r.Totals, cmpopts.IgnoreFields(want, "Sources", "Bytes", "Lines")) {
			t.Errorf("%s: %+v; want %+v", name, r.Totals, want)
		}
		want := []analyze.Container{
			{Container: oom.Container{Name: "cart"}, Restarts: 3, State: "running", Reason: "OOMKilled", ExitCode: 137, Kills: 1},
			{Container: oom.Container{Name: "gate"}, Restarts: 1, State: "running", Reason: "Completed", Kills: 1, Hidden: 1},
		}
		if diff := cmp.Diff(want, r.Containers, cmp.Comparer(func(x, y oom.Container) bool { return x.Name == y.Name })); diff != "" {
			t.Errorf("%s: containers - want + got\n%s", name, diff)
		}
	}
}

// pack makes a tar of the bundle.
func pack(t testing.TB, compressed bool) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := fs.WalkDir(os.DirFS(bundle), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(bundle, name))
		if err != nil {
			return err
		}
		if compressed {
			b = squeeze(t, b)
		}
		if err := w.WriteHeader(&tar.Header{Name: "bundle/" + name, Mode: 0o644, Size: int64(len(b))}); err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func squeeze(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The lines of seeds/002: two invocations, two events of one container, nobody named. Neither the zone nor the year is given:
// containerd's own times tell.
func TestSeed(t *testing.T) {
	for _, name := range []string{"seed-two-invocations", "seed-pasted-in-a-document"} {
		a := analyze.New(analyze.Options{})
		if err := a.Path(t.Context(), "../corpus/testdata/"+name+".log"); err != nil {
			t.Fatal(err)
		}
		r := a.Result()
		kill := brief{When: "2022-03-15T00:22:41Z", Invoker: "VM Thread", Container: "0527c6dd14e5", Scope: oom.ScopeUnknown, Confidence: oom.Strong, Witnesses: "kernel-log runtime"}
		if diff := cmp.Diff([]brief{kill, kill}, briefs(r)); diff != "" {
			t.Errorf("%s: - want + got\n%s", name, diff)
		}
		if len(r.Kills) == 2 && r.Kills[0].ID == r.Kills[1].ID {
			t.Errorf("%s: both have the id %s", name, r.Kills[0].ID)
		}
		if len(r.Missing) == 0 || !strings.Contains(r.Missing[0], `2 invocations of the OOM killer have no line "Killed process"`) {
			t.Errorf("%s: missing: %q", name, r.Missing)
		}
	}
}
