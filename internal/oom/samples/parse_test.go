package samples

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMemoryStat(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       memoryStat
	}{
		{"v2", "anon 8192\nfile 40960\nkernel 4096\nkernel_stack 1\nsock 512\nshmem 8192\ninactive_file 100\nslab 9\n",
			memoryStat{anon: 8192, file: 32768, shmem: 8192, inactiveFile: 100, kernel: 4096, sock: 512, swap: -1, limit: -1}},
		{"v2 before Linux 5.18", "anon 1\nfile 2\nkernel_stack 16384\nslab 4096\nsock 0\nshmem 0\ninactive_file 2\n",
			memoryStat{anon: 1, file: 2, shmem: 0, inactiveFile: 2, kernel: 20480, sock: 0, swap: -1, limit: -1}},
		{"v1: the figures of the cgroup alone come first",
			"cache 7\nrss 8\nshmem 5\ninactive_file 6\nhierarchical_memory_limit 9223372036854771712\ntotal_cache 100\ntotal_rss 200\ntotal_shmem 40\ntotal_inactive_file 3\ntotal_swap 1\n",
			memoryStat{anon: 200, file: 60, shmem: 40, inactiveFile: 3, kernel: -1, sock: -1, swap: 1, limit: 9223372036854771712}},
		{"empty", "", memoryStat{-1, -1, -1, -1, -1, -1, -1, -1}},
		{"a line that was cut", "anon 12", memoryStat{-1, -1, -1, -1, -1, -1, -1, -1}},
		{"no number", "anon x\nfile -3\nshmem 99999999999999999999\n", memoryStat{-1, -1, -1, -1, -1, -1, -1, -1}},
	} {
		if got := parseMemoryStat([]byte(tt.text)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestPressure(t *testing.T) {
	text := "some avg10=1.25 avg60=0.00 avg300=0.00 total=1234567\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=89\n"
	if got, want := parsePressure([]byte(text)), (pressure{1234567, 89, 1.25, 0.5}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := parsePressure(nil), (pressure{-1, -1, -1, -1}); got != want {
		t.Errorf("of nothing %+v, want %+v", got, want)
	}
}

func TestProcessStat(t *testing.T) {
	tail := " S 1 1 1 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 777 1 2 3\n"
	for name, want := range map[string]string{
		"java": "java", "x) R 1": "x) R 1", "a,pid=1,uid=0": "a,pid=1,uid=0", ") total-vm:1kB": ") total-vm:1kB", "two\nlines": "two\nlines",
		"": "", "kworker/u8:3-events_unbound": "kworker/u8:3-ev",
	} {
		s, ok := parseProcessStat([]byte("4711 (" + name + ")" + tail))
		if !ok || s.comm.String() != want || s.state != 'S' || s.ticks != 200 || s.threads != 9 || s.start != 777 {
			t.Errorf("%q: %+v %v", name, s, ok)
		}
	}
	for _, text := range []string{"", "1", "1 (a", "1 (a) ", "1 (a) S", ") (", "1 (a) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0"} {
		if s, ok := parseProcessStat([]byte(text)); ok {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestProcessStatus(t *testing.T) {
	text := "Name:\thog\nUid:\t1000\t0\t0\t0\nNSpid:\t4711\t57\t1\nVmSize:\t  900 kB\nVmRSS:\t 60 kB\nRssAnon:\t  30 kB\nRssFile:\t 20 kB\nRssShmem:\t 10 kB\nVmPTE:\t 5 kB\n"
	want := processStatus{uid: 1000, first: true, total: 900, anon: 30, file: 20, shmem: 10, pageTables: 5}
	if got := parseProcessStatus([]byte(text)); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for nspid, want := range map[string]bool{"1": false, "4711": false, "4711\t1": true, "4711\t11": false, "4711\t1\t7": false} {
		if got := parseProcessStatus([]byte("NSpid:\t" + nspid + "\n")); got.first != want {
			t.Errorf("NSpid %q: first is %v", nspid, got.first)
		}
	}
	if got := parseProcessStatus([]byte("Uid:\t0\t0\nVmRSS:\t 60 kB\n")); got.anon != 60 {
		t.Errorf("before Linux 4.5: %+v", got)
	}
}

func TestUpperDirectory(t *testing.T) {
	overlay := "/ rw - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/var/lib/containerd/x/fs,workdir=/w\n"
	for text, want := range map[string]string{
		"1 2 0:1 / " + overlay: "/var/lib/containerd/x/fs",
		"1 2 0:1 / /data rw - overlay overlay rw,lowerdir=/l,upperdir=/other,workdir=/w\n3 2 0:1 / " + overlay: "/var/lib/containerd/x/fs",
		"1 2 0:1 / / ro - overlay overlay ro,lowerdir=/l1:/l2\n":                                               "",
		"1 2 8:1 / / rw - ext4 /dev/sda1 rw\n":                                                                 "",
		"1 2 0:1 / / rw - overlay overlay rw,lowerdir=l,upperdir=relative/diff,workdir=w\n":                    "",
		"1 2 0:1 / / rw - overlay overlay rw,upperdir=/a\\040b,workdir=/w\n":                                   "",
		"": "", "-": "", "1 2 3 4 / - overlay": "",
	} {
		if got, _ := upperDirectory([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestBusy(t *testing.T) {
	if got := parseBusy([]byte("cpu  100 20 30 9999 888 7 6 5 40 2\ncpu0 1 2 3\n")); got != 100+20+30+7+6+5 {
		t.Errorf("busy for %d ticks", got)
	}
}

// What the kernel of this machine says is understood.
func TestParsersOnThisKernel(t *testing.T) {
	var buf [scratchBytes]byte
	b, err := readPath("/proc/self/stat", buf[:])
	if s, ok := parseProcessStat(b); !ok || s.start <= 0 || s.threads < 1 || !strings.HasPrefix(filepath.Base(os.Args[0]), s.comm.String()) {
		t.Errorf("stat: %+v %v %v", s, ok, err)
	}
	b, err = readPath("/proc/self/status", buf[:])
	if s := parseProcessStatus(b); int(s.uid) != os.Getuid() || s.anon <= 0 || s.file <= 0 || s.total <= s.anon || s.pageTables <= 0 {
		t.Errorf("status: %+v %v", s, err)
	}
	u := (&node{}).read("/proc")
	if u.Total <= 0 || u.Available <= 0 || u.Available > u.Total || u.CPUs < 1 || u.Cached <= 0 || u.Slab <= 0 || u.Kills < 0 {
		t.Errorf("node: %+v", u)
	}
}

// No text makes a parser fail, and none makes a figure that is below "not known".
func FuzzParsers(f *testing.F) {
	for _, name := range []string{"/proc/self/stat", "/proc/self/status", "/proc/self/mountinfo", "/proc/meminfo", "/proc/stat"} {
		if text, err := os.ReadFile(name); err == nil {
			f.Add(text)
		}
	}
	f.Add([]byte("anon 1\nfile 2\ntotal_cache 9\nsome avg10=0.01 total=7\n12\n0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := parseMemoryStat(b)
		p := parsePressure(b)
		s := parseProcessStatus(b)
		for _, n := range []int64{m.anon, m.file, m.shmem, m.inactiveFile, m.kernel, m.sock, m.swap, m.limit, p.someTotal, p.fullTotal,
			s.uid, s.total, s.anon, s.file, s.shmem, s.pageTables, parseBusy(b), keyed(b, "MemTotal"), value(b)} {
			if n < unknown {
				t.Errorf("a figure is %d", n)
			}
		}
		if stat, ok := parseProcessStat(b); ok && (stat.start < 0 || !strings.Contains(string(b), stat.comm.String())) {
			t.Errorf("%+v", stat)
		}
		if dir, ok := upperDirectory(b); ok && (dir[0] != '/' || utf8.ValidString(string(b)) && !bytes.Contains(b, []byte(dir))) {
			t.Errorf("directory %q", dir)
		}
		eachPID(b, func(pid int32) {
			if pid < 1 || pid > maxPID {
				t.Errorf("pid %d", pid)
			}
		})
	})
}
