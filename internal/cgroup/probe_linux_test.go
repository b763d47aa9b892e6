package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// host writes a proc tree and a cgroup tree below a temporary directory. Mount
// points in mounts and file names are relative to it.
func host(t *testing.T, membership, mounts string, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	files["proc/self/cgroup"] = membership
	files["proc/self/mountinfo"] = strings.ReplaceAll(mounts, "ROOT", root)
	for name, text := range files {
		full := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// A plain directory is not a cgroup file system: a trial group lacks its limit
// file, so the verdict is No wherever the search ends. What these fixtures show
// is which places were tried, which the reason names.
func TestProbeTriesTheRightPlaces(t *testing.T) {
	const v2mount = "30 1 0:26 / ROOT/cg rw - cgroup2 cgroup2 rw\n"
	const v1mount = "31 1 0:27 / ROOT/mem rw - cgroup cgroup rw,memory\n"
	for name, c := range map[string]struct {
		membership, mounts string
		files              map[string]string
		version            int
		want, not          []string
	}{
		"v2 service with a delegated parent": {
			membership: "0::/a.slice/b.service/main\n", mounts: v2mount, version: 2,
			files: map[string]string{
				"cg/cgroup.controllers":                               "cpu memory\n",
				"cg/a.slice/b.service/cgroup.subtree_control":         "memory\n",
				"cg/a.slice/b.service/main/cgroup.controllers":        "memory\n",
				"cg/a.slice/b.service/main/cgroup.subtree_control":    "memory\n",
				"cg/a.slice/b.service/main/unrelated/cgroup.whatever": "",
			},
			want: []string{"b.service/stella-probe-", "main/stella-probe-", "DelegateSubgroup"},
		},
		"v2 without a delegated controller": {
			membership: "0::/user.slice\n", mounts: v2mount, version: 2,
			files: map[string]string{
				"cg/cgroup.controllers":            "cpu memory\n",
				"cg/user.slice/cgroup.controllers": "cpu\n",
			},
			want: []string{"user.slice has no memory controller", "Delegate=memory"},
		},
		"hybrid goes by the v1 memory controller": {
			membership: "4:memory:/job\n0::/\n", mounts: v2mount + v1mount, version: 1,
			files: map[string]string{
				"cg/cgroup.controllers": "\n",
				"mem/job/tasks":         "",
			},
			want: []string{"mem/job/stella-probe-", "mem/stella-probe-"},
			not:  []string{"Delegate"},
		},
		"no controller": {
			membership: "0::/\n", mounts: "1 1 0:1 / / rw - ext4 /dev/x rw\n", version: 0,
			files: map[string]string{},
			want:  []string{"no memory controller is mounted"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := host(t, c.membership, c.mounts, c.files)
			s, err := probe(filepath.Join(root, "proc"))
			if err != nil {
				t.Fatal(err)
			}
			if s.Verdict != No || s.Version != c.version || s.Parent != "" {
				t.Errorf("got %+v, want no, version %d, no parent", s, c.version)
			}
			for _, want := range c.want {
				if !strings.Contains(s.Reason, want) {
					t.Errorf("reason %q does not name %q", s.Reason, want)
				}
			}
			for _, not := range c.not {
				if strings.Contains(s.Reason, not) {
					t.Errorf("reason %q names %q", s.Reason, not)
				}
			}
			left, _ := filepath.Glob(filepath.Join(root, "*", "stella-probe-*"))
			if len(left) != 0 {
				t.Errorf("trial groups left behind: %v", left)
			}
		})
	}
}

func TestProbeCannotTellWithoutProc(t *testing.T) {
	s, err := probe(filepath.Join(t.TempDir(), "nowhere"))
	if s.Verdict != Unknown || !errors.Is(err, os.ErrNotExist) || s.Reason == "" {
		t.Errorf("got %+v, %v; want could not tell with a reason", s, err)
	}
}

func TestUnsupportedErrorMatches(t *testing.T) {
	err := fmt.Errorf("make: %w", &UnsupportedError{Support{Verdict: No, Reason: "read-only"}})
	var typed *UnsupportedError
	if !errors.Is(err, ErrUnsupported) || !errors.As(err, &typed) || typed.Support.Reason != "read-only" {
		t.Errorf("%v does not match", err)
	}
	for v, want := range map[Verdict]string{Yes: "yes", No: "no", Unknown: "could not tell"} {
		if v.String() != want {
			t.Errorf("%d is %q, want %q", v, v, want)
		}
	}
}
