package queue_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"path/filepath"
	"testing"

	"stella/internal/proc"
	"stella/internal/scanner"
)

// meter keeps the highest resident set that it has seen.
type meter struct {
	testing.TB
	memory *proc.Memory
	peak   int64
}

func newMeter(t testing.TB) *meter {
	memory, err := proc.OpenSelf("/proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { memory.Close() })
	m := &meter{TB: t, memory: memory}
	m.look()
	return m
}

func (m *meter) look() {
	usage, err := m.memory.Read()
	if err != nil {
		m.Fatal(err)
	}
	m.peak = max(m.peak, usage.Resident)
}

// pattern is an inventory of any size that takes no memory.
type pattern struct {
	*meter
	at, size int64
}

func (p *pattern) Read(b []byte) (int, error) {
	p.look()
	if p.at == p.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(b)), p.size-p.at))
	for i := range n {
		b[i] = byte((p.at + int64(i)) >> 9)
	}
	p.at += int64(n)
	return n, nil
}

func (p *pattern) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	p.at = offset
	return offset, nil
}

// reader takes an inventory as a client does.
type reader struct {
	*meter
	hash.Hash
}

func (r reader) Write(b []byte) (int, error) {
	r.look()
	return r.Hash.Write(b)
}

// The memory of a result does not depend on its size, on the way in or out.
func TestLargeInventoryInLittleMemory(t *testing.T) {
	e := newEnv(t, "sqlite:"+filepath.Join(t.TempDir(), "queue.db"))
	q := e.instance("a")
	submit(t, q, submission(1))
	finish(t, q, success(claim(t, q, "default", "w"), inventory(1, 1_000_000))) // what is needed once
	submit(t, q, submission(2))
	c := claim(t, q, "default", "w")

	m := newMeter(t)
	before := m.peak
	content := &pattern{meter: m, size: 128 << 20}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		t.Fatal(err)
	}
	want := hex.EncodeToString(sum.Sum(nil))
	ended := success(c, nil)
	ended.Inventory = content
	ended.Result = &scanner.Result{Inventory: "sha256:" + want, Size: content.size}
	finish(t, q, ended)
	got := reader{meter: m, Hash: sha256.New()}
	if err := q.Inventory(t.Context(), c.Job.ID, got); err != nil || hex.EncodeToString(got.Sum(nil)) != want {
		t.Errorf("other bytes come out, %v", err)
	}
	t.Logf("128 MiB in %d KiB more of memory", (m.peak-before)>>10)
	// 22 MiB here; more with the race detector.
	if grown := m.peak - before; grown > 48<<20 {
		t.Errorf("grown by %d MiB", grown>>20)
	}
}
