package squash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"stella/internal/scan/fragment"
	"stella/internal/scan/inventory"
)

// kept makes a small inventory and returns the bytes that a cache keeps of it.
func kept(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := fragment.NewWriter(&b)
	w.Entry(fragment.File, "a", "")
	for _, p := range []inventory.Package{
		{Type: "npm", Name: "a", Version: "1", Requires: []inventory.Requirement{{"b"}}},
		{Type: "npm", Name: "b", Version: "1", Provides: []string{"b"}},
	} {
		if err := w.Package(1, "a", "", "x", &p); err != nil {
			t.Fatal(err)
		}
	}
	w.Problem("a", "x", "torn")
	if _, err := w.Close(0, 0, 0); err != nil {
		t.Fatal(err)
	}
	inv, err := Run(t.Context(), Input{Layers: 1, TempDir: t.TempDir(), Note: []byte(`"note"`),
		Open: func(int) ([]fragment.Source, error) { return []fragment.Source{bytes.NewReader(b.Bytes())}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer inv.Close()
	b.Reset()
	if _, err := inv.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

func reopen(t testing.TB, b []byte) (*Inventory, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "inventory")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return Open(f)
}

// read drains an inventory and reports what it had and the first error.
func read(inv *Inventory) (components, locations, edges int, first error) {
	for c, err := range inv.Components() {
		if err != nil {
			return components, locations, edges, err
		}
		components++
		for _, err := range c.Locations {
			if err != nil {
				return components, locations, edges, err
			}
			locations++
		}
	}
	for _, err := range inv.Edges() {
		if err != nil {
			return components, locations, edges, err
		}
		edges++
	}
	return components, locations, edges, nil
}

func TestInventoryIsReadAgain(t *testing.T) {
	inv, err := reopen(t, kept(t))
	if err != nil {
		t.Fatal(err)
	}
	defer inv.Close()
	for range 2 { // every stream starts again
		c, l, e, err := read(inv)
		if c != 2 || l != 2 || e != 1 || err != nil {
			t.Errorf("%d components, %d locations, %d edges, %v", c, l, e, err)
		}
	}
	if string(inv.Note()) != `"note"` || len(inv.Problems()) != 1 || inv.Count()["npm"] != 2 {
		t.Errorf("note %s, problems %v, count %v", inv.Note(), inv.Problems(), inv.Count())
	}
}

// Locations that nobody asked for do not shift those of the next component.
func TestUnreadLocations(t *testing.T) {
	inv, err := reopen(t, kept(t))
	if err != nil {
		t.Fatal(err)
	}
	defer inv.Close()
	n := 0
	for c, err := range inv.Components() {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 {
			continue
		}
		for l, err := range c.Locations {
			if err != nil || l.Path != "a" {
				t.Errorf("%+v, %v", l, err)
			}
		}
	}
}

func TestCutInventoryIsRefused(t *testing.T) {
	b := kept(t)
	for i := range b {
		if inv, err := reopen(t, b[:i]); err == nil {
			inv.Close()
			t.Errorf("opened with %d of %d bytes", i, len(b))
		}
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		if inv, err := reopen(t, bad); err == nil {
			inv.Close()
			t.Errorf("opened with a bit flipped in byte %d", i)
		}
	}
	if _, err := reopen(t, append([]byte("other"), b...)); !errors.Is(err, fragment.ErrDamaged) {
		t.Error(err)
	}
}

// A file that anybody could have put into the cache: no panic, and an end.
func FuzzOpen(f *testing.F) {
	whole := kept(f)
	f.Add(whole[:len(whole)-crc32.Size])
	f.Fuzz(func(t *testing.T, b []byte) {
		// With the right checksum, or nothing but the checksum would be tested.
		inv, err := reopen(t, binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.Checksum(b, castagnoli)))
		if err != nil {
			return
		}
		defer inv.Close()
		c, l, e, _ := read(inv)
		if c+l+e > len(b) {
			t.Errorf("%d components, %d locations and %d edges from %d bytes", c, l, e, len(b))
		}
	})
}
