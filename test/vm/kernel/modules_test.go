package kernel

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is the smallest ELF file with a section .modinfo.
func module(t *testing.T, info string) []byte {
	t.Helper()
	names := "\x00.modinfo\x00.shstrtab\x00"
	const headerSize, sectionSize = 64, 64
	data := headerSize + uint64(len(info))
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident:   [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:    uint16(elf.ET_REL),
			Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
			Shoff: data + uint64(len(names)), Ehsize: headerSize, Shentsize: sectionSize, Shnum: 3, Shstrndx: 2,
		},
		[]byte(info), []byte(names),
		elf.Section64{},
		elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: headerSize, Size: uint64(len(info))},
		elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: data, Size: uint64(len(names))},
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// unpacked is a kernel with modules that have these .modinfo sections.
func unpacked(t *testing.T, builtIn string, infos map[string]string) *Kernel {
	t.Helper()
	k := &Kernel{root: t.TempDir()}
	dir := filepath.Join(k.root, "lib", "modules", "6.1", "kernel")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{"../modules.builtin": []byte(builtIn)}
	for name, info := range infos {
		files[name] = module(t, info)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func TestModulesInOrder(t *testing.T) {
	k := unpacked(t, "kernel/fs/ext4/ext4.ko\nkernel/lib/built-in.ko\n", map[string]string{
		"stp.ko":          "license=GPL\x00depends=llc\x00",
		"llc.ko":          "license=GPL\x00depends=\x00",
		"bridge.ko":       "alias=rtnl-link-bridge\x00depends=stp,llc,built_in\x00intree=Y\x00",
		"br-netfilter.ko": "depends=bridge\x00",
		"loop-a.ko":       "depends=loop_b\x00",
		"loop-b.ko":       "depends=loop-a\x00",
		"broken.ko":       "depends=nothing\x00",
	})
	for _, c := range []struct {
		names string
		want  string // file names, or a part of the error
	}{
		{"", ""},
		{"llc", "llc.ko"},
		{"br_netfilter,bridge", "llc.ko,stp.ko,bridge.ko,br-netfilter.ko"},
		{"br-netfilter", "llc.ko,stp.ko,bridge.ko,br-netfilter.ko"},
		{"ext4,stp", "llc.ko,stp.ko"},
		{"loop_a", "loop-b.ko,loop-a.ko"},
		{"overlay", "error: the kernel has no module overlay"},
		{"broken", "error: the kernel has no module nothing, which broken depends on"},
	} {
		files, err := k.Modules(strings.FieldsFunc(c.names, func(r rune) bool { return r == ',' })...)
		for i, file := range files {
			files[i] = filepath.Base(file)
		}
		got := strings.Join(files, ",")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want {
			t.Errorf("Modules(%s) = %s, want %s", c.names, got, c.want)
		}
	}
}

func TestModulesRefusesWhatIsNone(t *testing.T) {
	k := unpacked(t, "", map[string]string{"large.ko": strings.Repeat("x", maxInfo+1)})
	text := filepath.Join(k.root, "text.ko")
	if err := os.WriteFile(text, []byte(strings.Repeat("text", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"large": "at most", "text": "text.ko: bad magic"} {
		if _, err := k.Modules(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestDecompress(t *testing.T) {
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skipf("no program xz to make a compressed module with: %v", err)
	}
	k := unpacked(t, "", map[string]string{"llc.ko": "depends=\x00"})
	dir := filepath.Join(k.root, "lib", "modules", "6.1", "kernel")
	if out, err := exec.Command("xz", filepath.Join(dir, "llc.ko")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := decompress(context.Background(), k.root); err != nil {
		t.Fatal(err)
	}
	if files, err := k.Modules("llc"); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

// What comes out are names, and reads the same when it is written again.
func FuzzParseDepends(f *testing.F) {
	f.Add([]byte("alias=rtnl-link-bridge\x00depends=llc,stp\x00intree=Y\x00"))
	f.Add([]byte("depends=\x00depends=,a,,b"))
	f.Fuzz(func(t *testing.T, info []byte) {
		names := parseDepends(info)
		for _, name := range names {
			if name == "" || strings.ContainsAny(name, ",\x00") {
				t.Errorf("%q has the name %q", info, name)
			}
		}
		if again := parseDepends([]byte("depends=" + strings.Join(names, ",") + "\x00")); !slices.Equal(again, names) {
			t.Errorf("%q gives %q, and that %q", info, names, again)
		}
	})
}
