package executable

import (
	"bytes"
	"debug/buildinfo"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/extracttest"
	"stella/internal/scan/inventory"
	"stella/internal/spool"
)

func lines(r *extracttest.Result) (v []string) {
	for _, p := range r.Packages {
		name := p.Name
		if p.Namespace != "" {
			name = p.Namespace + "/" + name
		}
		v = append(v, fmt.Sprintf("%s:%s@%s", p.Type, name, p.Version))
	}
	return v
}

func TestWants(t *testing.T) {
	for _, c := range []struct {
		path string
		mode uint32
		want bool
	}{
		{"usr/bin/x", 0o755, true}, {"usr/bin/x", 0o700, true}, {"usr/bin/x", 0o644, false}, {"usr/lib/libc.so.6", 0o644, true},
		{"lib/x.so", 0o644, true}, {"a.dll", 0o644, true}, {"a.exe", 0o644, true}, {"a.node", 0o644, true}, {"lib.so.d/readme", 0o644, false},
	} {
		h := extracttest.Header(c.path, 1000)
		h.Mode = os.FileMode(c.mode)
		if got := New().Wants(h); got != c.want {
			t.Errorf("%s %o: %v", c.path, c.mode, got)
		}
	}
	h := extract.Header{Path: "usr/lib/x86_64-linux-gnu/libexample.so.1.2.3", Size: 1000}
	if n := testing.AllocsPerRun(100, func() { New().Wants(h) }); n > 0 {
		t.Errorf("Wants allocates %v times", n)
	}
}

// This test itself is a Go binary; debug/buildinfo is the oracle.
func TestThisBinary(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"golang:" + info.Main.Path + "@", "golang:stdlib@" + stdlibVersion(info.GoVersion)}
	for _, d := range info.Deps {
		want = append(want, "golang:"+d.Path+"@"+d.Version)
	}
	r := extracttest.Run(t, New(), "usr/bin/test", data)
	if d := cmp.Diff(want, lines(r)); d != "" || r.Err != nil || r.Reasons != nil {
		t.Error(d, r.Err, r.Reasons)
	}
}

// formats are all layouts that build_test.go makes, each with Go's build information.
func formats() map[string][]byte {
	le, be := binary.AppendByteOrder(binary.LittleEndian), binary.AppendByteOrder(binary.BigEndian)
	inline := inlineInfo(goVersion, goText)
	all := map[string][]byte{}
	for name, s := range map[string]spec{
		"64 LE":        {order: le, wide: true, goInfo: inline},
		"64 BE":        {order: be, wide: true, goInfo: inline},
		"32 LE":        {order: le, goInfo: inline},
		"32 BE":        {order: be, goInfo: inline},
		"64 LE, <1.18": {order: le, wide: true, goInfo: pointerInfo},
		"64 BE, <1.18": {order: be, wide: true, goInfo: pointerInfo},
		"32 LE, <1.18": {order: le, goInfo: pointerInfo},
		"misaligned too": {order: le, wide: true, goInfo: func(s spec, a uint64) []byte {
			return append(pad([]byte("  "+goMagic+" not at a multiple of 16"), 48), inline(s, a)...)
		}},
	} {
		for _, s.sections = range []bool{false, true} {
			if strings.HasPrefix(name, "misaligned") && s.sections {
				continue // with a section, Go looks nowhere else
			}
			suffix := fmt.Sprint(", sections ", s.sections)
			all["ELF "+name+suffix] = s.elf()
			all["Mach-O "+name+suffix] = s.macho()
			if s.order == le && !s.sections {
				all["PE "+name] = s.pe()
			}
		}
	}
	joined := spec{order: le, wide: true, goInfo: inline, joined: true}
	all["ELF joined"] = joined.elf()
	return all
}

func TestGoFormats(t *testing.T) {
	for name, data := range formats() {
		t.Run(name, func(t *testing.T) {
			info, err := buildinfo.Read(bytes.NewReader(data))
			// The oracle of Go 1.26 loses count where the magic also stands misaligned in the same chunk.
			if !strings.Contains(name, "misaligned") && (err != nil || len(info.Deps) != 3 || info.GoVersion != goVersion) {
				t.Fatalf("the oracle does not read it: %v, %v", info, err)
			}
			r := extracttest.Run(t, New(), "bin/x", data)
			if d := cmp.Diff(wantGo, lines(r)); d != "" || r.Err != nil || r.Reasons != nil {
				t.Error(d, r.Err, r.Reasons)
			}
		})
	}
}

func TestGoEdges(t *testing.T) {
	s := spec{order: binary.LittleEndian, wide: true, goInfo: inlineInfo(goVersion, goText)}
	r := extracttest.Run(t, New(), "bin/x", s.elf())
	provided := map[string]string{}
	for _, p := range r.Packages {
		provided[p.Provides[0]] = p.Name
	}
	var got []string
	for _, q := range r.Packages[0].Requires {
		got = append(got, provided[q[0]])
	}
	if d := cmp.Diff([]string{"stdlib", "toml", "sys", "local"}, got); d != "" {
		t.Error(d)
	}
}

func TestMainModule(t *testing.T) {
	vcs := "build\tvcs.revision=0123456789abcdef0123\nbuild\tvcs.time=2024-05-06T07:08:09Z\n"
	devel := "path\tex.com/m/cmd\nmod\tex.com/m\t(devel)\t\n"
	for _, c := range []struct{ name, text, want string }{
		{"devel", devel, "golang:ex.com/m@ golang:stdlib@1.21.3"},
		{"devel with revision", devel + vcs, "golang:ex.com/m@v0.0.0-20240506070809-0123456789ab golang:stdlib@1.21.3"},
		{"devel with ldflags", devel + "build\t-ldflags=\"-s -w -X main.version=1.4.0 -X main.goVersion=1.2.3\"\n" + vcs,
			"golang:ex.com/m@v1.4.0 golang:stdlib@1.21.3"},
		{"file", "path\tcommand-line-arguments\ndep\ta.b/c\tv1.0.0\th1:\n", "golang:stdlib@1.21.3 golang:a.b/c@v1.0.0"},
		{"file in a module", "path\tcommand-line-arguments\ndep\ta.b/c\t(devel)\t\n", "golang:a.b/c@ golang:stdlib@1.21.3"},
		{"a tool of Go", "path\tcmd/gofmt\nbuild\t-compiler=gc\n", "golang:stdlib@1.21.3"},
		{"main again as a dependency", "path\tm\nmod\tm\tv1.0.0\th1:x\ndep\tm\tv1.0.0\th1:x\n", "golang:m@v1.0.0 golang:stdlib@1.21.3"},
		{"no modules", "", "golang:stdlib@1.21.3"},
	} {
		s := spec{order: binary.LittleEndian, wide: true, goInfo: inlineInfo(goVersion, c.text)}
		r := extracttest.Run(t, New(), "bin/x", s.elf())
		if got := strings.Join(lines(r), " "); got != c.want || r.Err != nil || r.Reasons != nil {
			t.Errorf("%s: got %s, want %s; %v %v", c.name, got, c.want, r.Err, r.Reasons)
		}
	}
}

func TestVersionFromLDFlags(t *testing.T) {
	for flags, want := range map[string]string{
		"-X main.version=v1.2.3":                          "v1.2.3",
		"-X=main.Version=1.2.3":                           "v1.2.3",
		"-X 'main.buildVersion=1.2.3-rc.1+k3s1'":          "v1.2.3-rc.1+k3s1",
		"-X \"ex.com/m/internal/v.GitTag=v2.0.0\"":        "v2.0.0",
		"-X main.gitVersion=v9.9.9 -X main.version=1.0.0": "v1.0.0",
		"-X ex.com/other.version=1.2.3":                   "",
		"-X main.goVersion=1.22.1":                        "",
		"-X main.version=dev":                             "",
		"-X main.version=1.2":                             "",
		"main.version=1.2.3":                              "",
		"-X":                                              "",
		"":                                                "",
	} {
		if got := versionFromLDFlags(flags, "ex.com/m"); got != want {
			t.Errorf("%s: %q, want %q", flags, got, want)
		}
	}
}

const audit = `{"packages":[
	{"name":"adler","version":"1.0.2","source":"crates.io"},
	{"name":"cc","version":"1.0.9","source":"crates.io","kind":"build","dependencies":[0]},
	{"name":"hello","version":"0.1.0","source":"local","dependencies":[0,1],"root":true}],"format":1}`

func TestAudit(t *testing.T) {
	want := []inventory.Package{
		{Type: "cargo", Name: "adler", Version: "1.0.2", Provides: []string{"cargo:/bin/x#0"}},
		{Type: "cargo", Name: "hello", Version: "0.1.0", Provides: []string{"cargo:/bin/x#2"},
			Requires: []inventory.Requirement{{"cargo:/bin/x#0"}, {"cargo:/bin/x#1"}}},
	}
	s := spec{order: binary.LittleEndian, wide: true, audit: deflated(audit), sections: true, unused: 100_000}
	joined := s
	joined.joined, joined.inCode = true, true
	for name, data := range map[string][]byte{"ELF": s.elf(), "ELF joined": joined.elf(), "PE": s.pe(), "Mach-O": s.macho()} {
		r := extracttest.Run(t, New(), "bin/x", data)
		if d := cmp.Diff(want, r.Packages); d != "" || r.Err != nil || r.Reasons != nil {
			t.Error(name, d, r.Err, r.Reasons)
		}
	}
	r := extracttest.Run(t, New(), "bin/x", fat(s.macho(), spec{order: binary.LittleEndian, goInfo: inlineInfo(goVersion, goText)}.macho()))
	if len(r.Packages) != 2+len(wantGo) || r.Err != nil {
		t.Error("fat", lines(r), r.Err)
	}
	short := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, fat32), maxArchs)
	if r := extracttest.Run(t, New(), "bin/x", pad(short, minSize)); r.Packages != nil {
		t.Error("fat without architectures", lines(r))
	}
}

func TestAuditHostile(t *testing.T) {
	for name, c := range map[string]struct {
		section  []byte
		packages int
		reason   string
	}{
		"not zlib":          {[]byte("hello, this is not zlib"), 0, "zlib"},
		"not JSON":          {deflated("hello"), 0, "cargo-auditable"},
		"cut JSON":          {deflated(audit[:120]), 1, "too early"},
		"cut zlib":          {deflated(audit)[:100], 1, "cargo-auditable"},
		"no packages":       {deflated("{}"), 0, "no packages"},
		"no name":           {deflated(`{"packages":[{"version":"1"},{"name":"a"}]}`), 1, "crate 0 has no name"},
		"other kinds":       {deflated(`{"packages":[1,{"name":"a","dependencies":[-1,"x",1e9,7]}]}`), 1, "crate 0 has no name"},
		"bomb of space":     {deflated(`{"packages":[` + strings.Repeat(" ", 20<<20)), 0, "inflates to more"},
		"bomb of string":    {deflated(`{"packages":[{"name":"` + strings.Repeat("a", 20<<20)), 0, "inflates to more"},
		"many dependencies": {deflated(`{"packages":[{"name":"a","dependencies":[0` + strings.Repeat(",1", 10000) + `]}]}`), 1, "dependencies of a are left out"},
	} {
		s := spec{order: binary.LittleEndian, wide: true, audit: c.section, sections: true}
		r := extracttest.Run(t, New(), "bin/x", s.pe())
		if len(r.Packages) != c.packages || r.Err != nil || len(r.Reasons) == 0 || !strings.Contains(r.Reasons[0], c.reason) {
			t.Errorf("%s: %v %v %v", name, lines(r), r.Reasons, r.Err)
		}
	}
}

// What stands in the code that was not spooled is an error, never silence.
func TestInCode(t *testing.T) {
	s := spec{order: binary.LittleEndian, wide: true, audit: deflated(audit), sections: true, inCode: true, goInfo: inlineInfo(goVersion, goText)}
	r := extracttest.Run(t, New(), "bin/x", s.elf())
	if r.Err == nil || !strings.Contains(r.Err.Error(), "not kept") {
		t.Error(r.Err)
	}
	if d := cmp.Diff(wantGo, lines(r)); d != "" {
		t.Error(d)
	}
}

// Code that is kept apart is not spooled.
func TestCodeIsNotSpooled(t *testing.T) {
	s := spec{order: binary.LittleEndian, wide: true, sections: true, goInfo: inlineInfo(goVersion, goText), unused: 8 << 20}
	data := s.elf()
	space := spool.NewSpace(t.TempDir(), 0)
	f := extract.NewFile(extracttest.Header("bin/x", int64(len(data))), struct{ io.Reader }{bytes.NewReader(data)}, space)
	defer f.Close()
	r := new(extracttest.Result)
	if err := New().Extract(t.Context(), f, r); err != nil || len(r.Packages) != len(wantGo) {
		t.Fatal(err, lines(r))
	}
	if space.PeakDisk() > 64<<10 {
		t.Errorf("%d bytes were spooled", space.PeakDisk())
	}
}

// Content that is no executable costs nothing, however large.
func TestNotExecutable(t *testing.T) {
	space := spool.NewSpace(t.TempDir(), 0)
	dll := spec{wide: true}.pe()
	binary.LittleEndian.PutUint32(dll[64+24+240+36:], 0x60000020) // .data becomes code, as the only section of a .NET assembly
	copy(dll[64+24+240+40:], ".reloc\x00\x00")
	for _, head := range []string{"#!/bin/sh\n", "\x7fELX", "\xca\xfe\xba\xbe\x00\x00\x00\x37 a Java class", "PK\x03\x04", "MZ nothing", string(dll)} {
		data := append([]byte(head), make([]byte, 1<<20)...)
		f := extract.NewFile(extracttest.Header("bin/x", int64(len(data))), struct{ io.Reader }{bytes.NewReader(data)}, space)
		r := new(extracttest.Result)
		if err := New().Extract(t.Context(), f, r); err != nil || r.Packages != nil || r.Reasons != nil {
			t.Errorf("%.10q: %v %v %v", head, err, r.Packages, r.Reasons)
		}
		f.Close()
	}
	if space.PeakDisk() > 0 {
		t.Errorf("%d bytes were spooled", space.PeakDisk())
	}
}

// Every file cut at every offset, and with every byte of its headers changed, ends without a panic.
func TestDamaged(t *testing.T) {
	for name, data := range formats() {
		step := max(1, len(data)/80)
		for n := 0; n < len(data); n += step {
			run(t, name, data[:n])
			bad := bytes.Clone(data)
			bad[n/8] ^= 0xff // mostly headers
			run(t, name, bad)
		}
	}
}

// A program that was cut is said to be; one that is whole is not.
func TestTruncated(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]bool{len(data): false, len(data) / 2: true, 5000: true} {
		r := extracttest.Run(t, New(), "bin/x", data[:n])
		if got := strings.Contains(strings.Join(r.Reasons, "\n"), "truncated"); got != want {
			t.Errorf("%d of %d bytes: %q, %v", n, len(data), r.Reasons, r.Err)
		}
	}
}

// run is extracttest.Run without a temporary directory each.
func run(t *testing.T, name string, data []byte) {
	f := extract.NewFile(extracttest.Header("bin/x", int64(len(data))), struct{ io.Reader }{bytes.NewReader(data)}, spool.NewSpace("/nonexistent", 64<<10))
	defer f.Close()
	r := new(extracttest.Result)
	_ = New().Extract(t.Context(), f, r)
	for _, p := range r.Packages {
		extracttest.Check(t, &p)
	}
	if t.Failed() {
		t.Fatal(name)
	}
}

// text is an endless module list.
func moduleList(n int) string {
	var b strings.Builder
	b.WriteString("path\tex.com/m\nmod\tex.com/m\tv1.0.0\t\n")
	for i := range n {
		fmt.Fprintf(&b, "dep\tgithub.com/organisation%d/module%d\tv1.%d.0\th1:0123456789012345678901234567890123456789012=\n", i/7, i, i)
	}
	return b.String()
}

// A module list of 12 MB is streamed; only dependency edges are bounded, and that is said.
func TestMemory(t *testing.T) {
	const n = 120_000
	path := t.TempDir() + "/x"
	func() {
		s := spec{order: binary.LittleEndian, wide: true, goInfo: inlineInfo(goVersion, moduleList(n)), unused: 4 << 20}
		if err := os.WriteFile(path, s.elf(), 0o600); err != nil {
			t.Fatal(err)
		}
	}()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	i, _ := f.Stat()
	live, packages, err := extracttest.Peak(t, New(), extracttest.Header("bin/x", i.Size()), f)
	t.Logf("%d KiB live at most", live>>10)
	if err != nil || packages != n+2 || live > extract.Budget {
		t.Errorf("%d packages, %d KiB live, %v", packages, live>>10, err)
	}
}

func TestManyModules(t *testing.T) {
	s := spec{order: binary.LittleEndian, wide: true, goInfo: inlineInfo(goVersion, moduleList(5000))}
	r := extracttest.Run(t, New(), "bin/x", s.elf())
	if len(r.Packages) != 5002 || len(r.Reasons) != 1 || !strings.Contains(r.Reasons[0], "are left out") {
		t.Error(len(r.Packages), r.Reasons)
	}
}

func FuzzExecutable(f *testing.F) {
	for _, data := range formats() {
		f.Add(data)
	}
	f.Add(spec{order: binary.LittleEndian, wide: true, audit: deflated(audit), sections: true}.elf())
	f.Fuzz(func(t *testing.T, data []byte) { extracttest.Fuzz(t, New(), "bin/x", 0o755, data) })
}

// Whatever runtime/debug understands is understood the same way.
func FuzzModules(f *testing.F) {
	f.Add(goText)
	f.Add(moduleList(3) + "build\t-ldflags=\"-X main.version=1.2.3\"\nbuild\tvcs.time=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		want, err := debug.ParseBuildInfo(text)
		if err != nil {
			return
		}
		var deps []debug.Module
		var reasons []string
		var main module
		l := list{
			main: func(m *module) error { main = *m; return nil },
			dep: func(m *module) error {
				d := debug.Module{Path: m.path, Version: m.version, Sum: m.sum}
				if m.replaced {
					d = debug.Module{Path: m.path, Version: m.version, Replace: &debug.Module{Path: m.newPath, Version: m.newVer, Sum: m.sum}}
				}
				deps = append(deps, d)
				return nil
			},
			problem: func(r string) { reasons = append(reasons, r) },
		}
		if err := l.read(io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))); err != nil {
			t.Fatal(err)
		}
		if reasons != nil {
			return // stricter: modules without a path, lines too long
		}
		var expected []debug.Module
		for _, d := range want.Deps {
			e := *d
			if e.Replace != nil {
				e.Sum = ""
			}
			expected = append(expected, e)
		}
		if d := cmp.Diff(expected, deps); d != "" || main.path != want.Main.Path || main.version != want.Main.Version {
			t.Error(d, main, want.Main)
		}
	})
}
