package proc

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

func TestParseStatm(t *testing.T) {
	tests := []struct {
		in   string
		want Usage
		err  error
	}{
		// A line of a real process, Linux 6.1: 4 KiB pages.
		{in: "4242 1180 902 21 0 1066 0\n", want: Usage{Resident: 1180 << 12, File: 902 << 12}},
		{in: "1 2 3", want: Usage{Resident: 2 << 12, File: 3 << 12}},
		{in: "", err: ErrFormat},
		{in: "1 2", err: ErrFormat},
		{in: "1 x 3 4", err: ErrFormat},
		{in: "1 -2 3 4", err: ErrFormat},
		{in: "1 9223372036854775807 3", err: ErrFormat},
	}
	for _, tt := range tests {
		got, err := parseStatm([]byte(tt.in), 4096)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("parseStatm(%q) = %+v, %v; want %+v, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

// The kernel's own count of touched memory is the oracle: memory that was
// written must show, to within a few pages, and VmRSS must agree.
func TestReadSelf(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("procfs is Linux's")
	}
	m, err := OpenSelf("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	before, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	const size = 16 << 20
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	after, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.Resident - before.Resident; grown < size*9/10 {
		t.Errorf("after writing %d bytes the resident set grew by %d", size, grown)
	}
	if vm := vmRSS(t); vm < after.Resident*8/10 || vm > after.Resident*12/10 {
		t.Errorf("Resident = %d, but VmRSS = %d", after.Resident, vm)
	}
	if after.File <= 0 || after.File > after.Resident {
		t.Errorf("File = %d of Resident = %d", after.File, after.Resident)
	}
	runtime.KeepAlive(b)
}

func TestReadDoesNotAllocate(t *testing.T) {
	m, err := OpenSelf(fakeRoot(t, "10 20 30 0 0 0 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := m.Read(); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("Read allocates %v times", n)
	}
}

func TestOpenSelfWithoutProcfs(t *testing.T) {
	if _, err := OpenSelf(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v; want one that matches os.ErrNotExist", err)
	}
}

func TestReadNamesTheFile(t *testing.T) {
	m, err := OpenSelf(fakeRoot(t, "rubbish"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Read(); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "statm") {
		t.Errorf("error is %v; want ErrFormat with the file's name", err)
	}
}

func FuzzParseStatm(f *testing.F) {
	f.Add([]byte("4242 1180 902 21 0 1066 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseStatm(b, 4096)
		if err == nil && (u.Resident < 0 || u.File < 0 || u.Resident%4096 != 0) {
			t.Errorf("%q gives %+v", b, u)
		}
	})
}

func fakeRoot(t *testing.T, statm string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "self", "statm"), []byte(statm), 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

func vmRSS(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS line")
	return 0
}
