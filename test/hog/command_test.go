//go:build linux

package main

import (
	"debug/elf"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// An image that holds hog alone needs a file without an interpreter and libraries.
func TestBinaryIsStatic(t *testing.T) {
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, s := range f.Progs {
		if s.Type == elf.PT_INTERP || s.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a segment %v", s.Type)
		}
	}
}

func TestHogItselfIsSmall(t *testing.T) {
	t.Parallel()
	p := start(t, 16*mib, "pause")
	p.line("hog: pauses")
	p.uses(0, 2*mib)
	if rss := p.status("VmRSS"); rss > 4<<10 {
		t.Errorf("resident set of %d KiB", rss)
	} else {
		t.Logf("resident set %d KiB, %d KiB of it anonymous; the cgroup counts %d KiB", rss, p.status("RssAnon"), p.stats().Current>>10)
	}
	p.stop()
}

func TestSIGINTEndsToo(t *testing.T) {
	t.Parallel()
	p := free(t, "pause")
	p.line("hog: pauses")
	p.tell(syscall.SIGINT)
	p.line("hog: ends: interrupt")
	p.ends("exit status 0")
}

func TestIgnoreTerm(t *testing.T) {
	t.Parallel()
	p := free(t, "hold", "1Mi", "--ignore-term")
	p.line("hog: holds 1048576 bytes")
	for range 2 {
		p.tell(syscall.SIGTERM)
		p.line("hog: ignores terminated")
	}
	p.alive()
	p.tell(syscall.SIGKILL)
	p.ends("signal: killed")
}

func TestPrintRepeatsTheNewestLine(t *testing.T) {
	t.Parallel()
	p := free(t, "hold", "4096", "--print", "20ms")
	for range 3 {
		p.line("hog: holds 4096 bytes")
	}
	p.stop()
}

func TestName(t *testing.T) {
	t.Parallel()
	p := free(t, "pause", "--name", "sidecar")
	p.line("sidecar: pauses")
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid))
	if err != nil || string(comm) != "sidecar\n" {
		t.Errorf("the kernel calls it %q, %v", comm, err)
	}
	p.stop()
}

func TestEveryExitCode(t *testing.T) {
	t.Parallel()
	for code := range 256 {
		p := free(t, "exit", fmt.Sprint(code))
		p.line(fmt.Sprintf("hog: exits with %d", code))
		p.ends(fmt.Sprintf("exit status %d", code))
	}
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"":                                   "which mode? See hog --help",
		"eat":                                `no mode "eat"`,
		"--ignore-term pause":                `no mode "--ignore-term"`,
		"-- pause":                           `no mode "--"`,
		"hold":                               "hog hold: SIZE is missing; see hog hold --help",
		"hold 1Mi 2Mi":                       `"2Mi" is one argument too many`,
		"hold 64M":                           `invalid value "64M" for SIZE: not a size`,
		"hold 17Gi":                          "more than 16Gi",
		"hold 1Mi --for 5":                   `invalid value "5" for flag -for: not a duration`,
		"hold 1Mi --for -5s":                 "shorter than 0s",
		"hold 1Mi --rate 1Mi/s":              "flag provided but not defined: -rate",
		"leak --rate 1Mi":                    `"1Mi" for flag -rate: not a rate`,
		"leak --rate 1M/s":                   "not a size",
		"leak --limit 0":                     "not a size",
		"sawtooth --low 64Mi":                "--low is not below --high",
		"sawtooth --low 1 --high 4096":       "--low is not below --high",
		"sawtooth --period 1ms":              "shorter than 100ms",
		"exit 256":                           "not a whole number from 0 to 255",
		"exit -1":                            "flag provided but not defined: -1",
		"exit +1":                            "not a whole number",
		"child 1Mi --times 0":                "from 1 to 10000",
		"child-exit 1":                       "SIZE is missing",
		"fork-storm 513 1Mi":                 "from 1 to 512",
		"fork-storm 512 1Gi":                 "512 times 1Gi is more than 16Gi",
		"connections 10001":                  "from 1 to 10000",
		"connections 1 --bytes 2Mi":          "more than 1Mi",
		"pause --name=":                      "empty, or with a space",
		"pause --print 1":                    "not a duration",
		"hold --for 1s 64Mi --ignore-term=x": "invalid boolean value",
	} {
		p := free(t, strings.Fields(args)...)
		p.ends("exit status 2")
		if text := p.errors.String(); len(p.seen) > 0 || !strings.Contains(text, says) {
			t.Errorf("hog %s prints %q and says %q, want %q", args, p.seen, text, says)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	help := func(args ...string) string {
		p := free(t, append(args, "--help")...)
		p.ends("exit status 0")
		return strings.Join(p.seen, "\n")
	}
	overview := help()
	for _, m := range modes {
		if !strings.Contains(overview, "\n  "+m.name+" ") {
			t.Errorf("hog --help does not name %s", m.name)
		}
		if text := help(m.name); !strings.Contains(text, "  hog "+m.name+" ") || !strings.Contains(text, "--ignore-term") {
			t.Errorf("hog %s --help: %s", m.name, text)
		}
	}
	if text := help("leak"); !strings.Contains(text, "--rate SIZE/s") || !strings.Contains(text, "(default 1Mi/s)") {
		t.Errorf("hog leak --help: %s", text)
	}
	if text := help("fork-storm", "2"); !strings.Contains(text, "hog fork-storm N SIZE [FLAGS]") {
		t.Errorf("hog fork-storm 2 --help: %s", text)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{
		"1": 1, "4096": 4096, "1Ki": 1 << 10, "64Mi": 64 << 20, "16Gi": 16 << 30, "17179869184": 16 << 30,
		"": 0, "0": 0, "0Mi": 0, "-1": 0, "+1": 0, "1.5Mi": 0, "1 Mi": 0, "Mi": 0, "1MiMi": 0, "1mi": 0, "1k": 0, "1e3": 0, "0x10": 0,
		"16385Mi": 0, "17179869185": 0, "99999999999999999999": 0, "18446744073709551615Gi": 0, "17179869184Gi": 0,
	} {
		var s size
		if err := s.Set(text); s != want || (err == nil) != (want > 0) {
			t.Errorf("%q is %d, %v; want %d", text, s, err, want)
		}
	}
	for s, want := range map[size]string{1: "1", 4097: "4097", 1 << 10: "1Ki", 1<<20 + 1<<10: "1025Ki", 16 << 30: "16Gi"} {
		if s.String() != want {
			t.Errorf("%d is written %s, want %s", int64(s), s.String(), want)
		}
	}
	if got := size(4097).pages() % pageSize; got != 0 {
		t.Errorf("%d bytes beyond whole pages", got)
	}
}
