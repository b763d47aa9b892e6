package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/oom"
	"stella/internal/oom/analyze"
)

// A search for "oom" in the messages of a node, as a person would hand it over: two
// notices of containerd in its own zone, two invocations, and no word of who was killed.
const foundByGrep = `Mar 15 09:22:41 node03 containerd: time="2022-03-15T09:22:41.553168162+09:00" level=info msg="TaskOOM event &TaskOOM{ContainerID:0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db,XXX_unrecognized:[],}"
Mar 15 09:22:41 node03 kernel: VM Thread invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=984
Mar 15 09:22:41 node03 kernel: [<ffffffffaadbfd74>] oom_kill_process+0x254/0x3e0
Mar 15 09:22:41 node03 kernel: [ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name
Mar 15 09:22:41 node03 containerd: time="2022-03-15T09:22:41.563701093+09:00" level=info msg="TaskOOM event &TaskOOM{ContainerID:0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db,XXX_unrecognized:[],}"
Mar 15 09:22:41 node03 kernel: VM Thread invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=984
`

const killedLines = "[  100.5] kubectl invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=984\n" +
	"[  100.6] memory: usage 65536kB, limit 65536kB, failcnt 12\n" +
	"[  100.6] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,oom_memcg=/docker/0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db,task_memcg=/docker/0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db,task=a\x1b[2J,pid=8103,uid=0\n" +
	"[  100.6] Memory cgroup out of memory: Killed process 8103 (a\x1b[2J) total-vm:716800kB, anon-rss:40960kB, file-rss:1024kB, shmem-rss:0kB, UID:0 pgtables:128kB oom_score_adj:984\n"

func logFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOOMAnalyze(t *testing.T) {
	got := runWith(t.Context(), t, nil, "oom", "analyze", "--year", "2022", "--zone", "Asia/Seoul", logFile(t, "messages", foundByGrep))
	const want = `TIME WHERE PROCESS RSS LIMIT FIRED SURE INVOKER
2022-03-15T00:22:41Z 0527c6dd14e50 unknown - - unknown strong VM Thread
2022-03-15T00:22:41Z 0527c6dd14e50 unknown - - unknown strong VM Thread

Kills: 2: 0 certain, 2 strong, 0 weak
Read: 1 log, 826 B, 6 lines
`
	if !strings.HasPrefix(table(got.stdout), want) || got.stderr != "" || got.code != ExitOK {
		t.Errorf("exit %d, %q, %q; want %q", got.code, got.stderr, got.stdout, want)
	}
	got = runWith(t.Context(), t, nil, "oom", "analyze", "-o", "wide", logFile(t, "dmesg", killedLines))
	if want := "- 0527c6dd14e50 a\uFFFD[2J[8103] 41.0 MiB 64.0 MiB container certain kubectl kernel log "; !strings.HasPrefix(strings.Split(table(got.stdout), "\n")[1], want) || got.code != ExitOK {
		t.Errorf("exit %d, %q, %q; want %q", got.code, got.stderr, got.stdout, want)
	}
	got = runWith(t.Context(), t, nil, "oom", "analyze", "-o", "json", logFile(t, "dmesg", killedLines))
	var r analyze.Result
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil || len(r.Kills) != 1 || r.Kills[0].Process.Comm != "a\x1b[2J" || r.Totals.Certain != 1 {
		t.Errorf("%v: JSON is %s", err, got.stdout)
	}
}

// What is said beside the kills, however hostile the names.
func TestWriteAnalysis(t *testing.T) {
	var out bytes.Buffer
	r := analyze.Result{
		Others:  []oom.Notice{{Time: noon, Cgroup: "/user.slice/x\x1b[2J", Reason: "systemd-oomd"}},
		Sources: []analyze.Source{{Name: "a\nb", Moved: -365*day - time.Hour}, {Name: "well"}},
		Missing: []string{"one", "two", "three", "four", "five", "six", "seven"},
		Totals:  analyze.Totals{Sources: 2, Bytes: 3 << 20, Lines: 12345, Pods: 7, Certain: 1234, Weak: 1, LeftOut: 5},
	}
	if err := writeAnalysis(&out, &r); err != nil {
		t.Fatal(err)
	}
	const want = `Kills:             1,235: 1,234 certain, 0 strong, 1 weak
Left out:          5 more, beyond what one result holds: choose fewer logs
Not the kernel's:  2026-11-21T12:00:00Z /user.slice/x�[2J: processes killed by systemd-oomd
Read:              2 logs, 3.0 MiB, 12,345 lines
Pods:              7
Times moved:       a; b: by -365d1h, because its own lines show another zone or year than was assumed
Would tell more:   one
Would tell more:   two
Would tell more:   three
Would tell more:   four
Would tell more:   five
Would tell more:   and 2 more; -o json has all
`
	if diff := cmp.Diff(strings.ReplaceAll(want, `\uFFFD`, "\uFFFD"), out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// No kills is an answer. What cannot be read is named, and the exit code tells.
func TestOOMAnalyzeOfLittle(t *testing.T) {
	empty, quiet := logFile(t, "empty", ""), logFile(t, "quiet", "Mar 15 09:22:41 host kernel: all is well\n")
	runWith(t.Context(), t, nil, "oom", "analyze", empty).want(t, ExitOK, "Kills:  none\nRead:   0 logs, 0 B, 0 lines\n", "")
	if got := runWith(t.Context(), t, nil, "oom", "analyze", quiet); got.code != ExitOK || !strings.HasPrefix(got.stdout, "Kills:  none\nRead:   1 log, 41 B, 1 line\n") || got.stderr != "" {
		t.Errorf("a quiet log: exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	packed := logFile(t, "x\x1b.xz", "\xfd7zXZ\x00")
	got := runWith(t.Context(), t, nil, "oom", "analyze", packed)
	if got.code != ExitFailed || got.stdout != "" || !strings.HasSuffix(got.stderr, "x\uFFFD.xz: compressed with xz: give what xz -dc prints\n") {
		t.Errorf("what cannot be read: exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	got = runWith(t.Context(), t, nil, "oom", "analyze", packed, quiet, "/nonexistent")
	if got.code != ExitPartial || !strings.HasPrefix(got.stdout, "Kills:  none\n") || !strings.HasSuffix(got.stderr, "stella: the result is partial: 2 logs could not be read\n") || strings.Count(got.stderr, "warning") != 2 {
		t.Errorf("some cannot be read: exit %d, %q, %q", got.code, got.stderr, got.stdout)
	}
	for _, tt := range []struct{ args, want string }{
		{"oom analyze", "needs a file or directory with logs; - is standard input"},
		{"oom analyze x --zone Mars", "--zone Mars: write Local, UTC, or a name"},
		{"oom analyze x --year 22", "--year 22: write the year with four digits"},
		{"oom analyze x -o text", "choose table, wide, json or yaml"},
		{"oom analyze x --page-size 0", "no whole number of bytes above zero"},
	} {
		if got := runWith(t.Context(), t, nil, strings.Fields(tt.args)...); got.code != ExitUsage || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: exit %d, %q; want exit 2 and %q", tt.args, got.code, got.stderr, tt.want)
		}
	}
}

// Standard input can be silent for ever: an interrupted command ends all the same.
func TestPollReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := &pollReader{ctx, r}
	if _, err := w.WriteString("abc"); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyN(&got, p, 3); err != nil || got.String() != "abc" {
		t.Fatalf("read %q, %v", got.String(), err)
	}
	cancel()
	if _, err := p.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v; want that it was interrupted", err)
	}
	w.Close()
	if _, err := (&pollReader{t.Context(), r}).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("error is %v; want the end", err)
	}
}

// A result is written kill by kill as it would be in one piece.
func TestOneByOne(t *testing.T) {
	for n := range 4 {
		r := analyze.Result{Kills: []oom.Kill{}, Sources: []analyze.Source{{Name: "[]"}}, Missing: []string{"}\n"}}
		for i := range n {
			r.Kills = append(r.Kills, oom.Kill{ID: strconv.Itoa(i), Doubt: "[\n\n  ]\n}\n- []\n"})
		}
		for name, layout := range killLayouts {
			var want, got strings.Builder
			if err := errors.Join(layout.encode(&want, r), layout.write(&got, &r)); err != nil {
				t.Fatal(err)
			}
			if got.String() != want.String() {
				t.Errorf("%d kills as %s:\n%s\nwant\n%s", n, name, &got, &want)
			}
		}
	}
}
