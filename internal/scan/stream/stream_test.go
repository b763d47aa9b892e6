package stream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func pack(t testing.TB, how string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch how {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b, zstd.WithWindowSize(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func open(t testing.TB, stored []byte, o Options) *Stream {
	t.Helper()
	if o.Window == 0 {
		o.Window = 8 << 20
	}
	s, err := Open(t.Context(), io.NopCloser(bytes.NewReader(stored)), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func sample(n int) []byte {
	rnd := rand.New(rand.NewPCG(7, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefgh\n"[rnd.IntN(9)]
	}
	return b
}

var compressions = []string{"gzip", "zstd", "none"}

func TestUnpacksAndVerifies(t *testing.T) {
	data := sample(3<<20 + 17)
	for _, how := range compressions {
		for _, n := range []int{0, 1, chunkSize, chunkSize + 1, len(data)} {
			t.Run(fmt.Sprint(how, n), func(t *testing.T) {
				stored := pack(t, how, data[:n])
				s := open(t, stored, Options{Digest: digest(stored)})
				got, err := io.ReadAll(s)
				if err != nil || !bytes.Equal(got, data[:n]) {
					t.Fatalf("%d of %d bytes: %v", len(got), n, err)
				}
				if err := s.Verify(); err != nil {
					t.Fatal(err)
				}
				if n > 0 && s.Compression() != how {
					t.Errorf("compression %q", s.Compression())
				}
			})
		}
	}
}

func TestUnpackedDigest(t *testing.T) {
	data := sample(1 << 20)
	s := open(t, pack(t, "gzip", data), Options{Digest: digest(data), Unpacked: true})
	if err := s.Verify(); err != nil {
		t.Fatal(err)
	}
}

// The bytes are fine, and are not the promised ones; nothing was read by the caller.
func TestWrongDigest(t *testing.T) {
	data := sample(1 << 20)
	for _, how := range compressions {
		for _, unpacked := range []bool{false, true} {
			s := open(t, pack(t, how, data), Options{Digest: digest([]byte("other")), Unpacked: unpacked})
			if err := s.Verify(); !errors.Is(err, ErrDigest) {
				t.Errorf("%s, over unpacked %v: %v", how, unpacked, err)
			}
		}
	}
}

// Layers that were built damaged: the digest holds, the stream does not. What
// comes before the damage is delivered.
func TestDamage(t *testing.T) {
	data := sample(2 << 20)
	for _, how := range []string{"gzip", "zstd"} {
		good := pack(t, how, data)
		flipped := bytes.Clone(good)
		for i := range 64 {
			flipped[len(flipped)/2+i] ^= 0xff
		}
		for name, stored := range map[string][]byte{"cut": good[:len(good)/2], "flipped": flipped} {
			s := open(t, stored, Options{Digest: digest(stored)})
			got, err := io.ReadAll(s)
			var corrupt *Corrupt
			if !errors.As(err, &corrupt) || corrupt.Compression != how {
				t.Fatalf("%s %s: read gave %v", how, name, err)
			}
			if len(got) < 256<<10 || !bytes.HasPrefix(data, got[:256<<10]) {
				t.Errorf("%s %s: only %d good bytes before the damage", how, name, len(got))
			}
			if err := s.Verify(); !errors.As(err, &corrupt) || errors.Is(err, ErrDigest) {
				t.Errorf("%s %s: verify gave %v", how, name, err)
			}
			s = open(t, stored, Options{Digest: digest(good)})
			if err := s.Verify(); !errors.Is(err, ErrDigest) {
				t.Errorf("%s %s: a changed layer gave %v", how, name, err)
			}
		}
	}
}

func TestRefusesALargeWindow(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(128<<20))
	if err != nil {
		t.Fatal(err)
	}
	z.Write(sample(4 << 20))
	z.Flush() // no content size: the window counts
	z.Close()
	_, err = Open(t.Context(), io.NopCloser(&b), Options{Window: 8 << 20})
	var need *NeedError
	if !errors.As(err, &need) || need.Need != 128<<20 || !strings.Contains(err.Error(), "128 MiB") {
		t.Fatal(err)
	}
}

func TestRefusesForeignCompression(t *testing.T) {
	xz := []byte{0xfd, '7', 'z', 'X', 'Z', 0, 0, 4}
	_, err := Open(t.Context(), io.NopCloser(bytes.NewReader(xz)), Options{})
	if err == nil || !strings.Contains(err.Error(), "xz") {
		t.Fatal(err)
	}
}

func TestBomb(t *testing.T) {
	const floor = 64 << 20
	// One zstd frame: window 1 MiB, then RLE blocks of 128 KiB each, four bytes a block.
	bomb := []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x50}
	for range 4_000 {
		bomb = append(bomb, 0x02, 0x00, 0x10, 0x00)
	}
	s := open(t, bomb, Options{Digest: digest(bomb), bombFloor: floor})
	if err := s.Verify(); !errors.Is(err, ErrBomb) {
		t.Fatal(err)
	}
	if s.Offset() > floor+chunkSize*chunks*2 {
		t.Errorf("unpacked %d bytes before it stopped", s.Offset())
	}
}

func TestSeekSkips(t *testing.T) {
	data := sample(1 << 20)
	s := open(t, pack(t, "gzip", data), Options{})
	for _, n := range []int64{0, 10, chunkSize, 3*chunkSize + 5} {
		pos, err := s.Seek(n, io.SeekCurrent)
		if err != nil {
			t.Fatal(err)
		}
		var b [8]byte
		if _, err := io.ReadFull(s, b[:]); err != nil || !bytes.Equal(b[:], data[pos:pos+8]) {
			t.Fatalf("at %d: %q, %v", pos, b, err)
		}
	}
	if _, err := s.Seek(1, io.SeekStart); err == nil {
		t.Error("seeks from the start")
	}
}

type failing struct {
	data io.Reader
	err  error
}

func (f *failing) Read(p []byte) (int, error) {
	if n, _ := f.data.Read(p); n > 0 {
		return n, nil
	}
	return 0, f.err
}
func (f *failing) Close() error { return nil }

// An error of the source is not damage: it must come through as it is.
func TestSourceError(t *testing.T) {
	broken := errors.New("the disk broke")
	for _, how := range compressions {
		stored := pack(t, how, sample(2<<20))
		s, err := Open(t.Context(), &failing{bytes.NewReader(stored[:len(stored)-100]), broken}, Options{Window: 8 << 20, Digest: digest(stored)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(); !errors.Is(err, broken) {
			t.Errorf("%s: %v", how, err)
		}
		s.Close()
	}
}

type endless struct{ closed chan struct{} }

func (e endless) Read(p []byte) (int, error) { <-e.closed; return 0, io.ErrClosedPipe }
func (e endless) Close() error               { close(e.closed); return nil }

// Close ends a source that hangs, and leaves no goroutine (the test would not end).
func TestCloseUnblocks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	src := endless{make(chan struct{})}
	go func() { <-ctx.Done(); src.Close() }()
	if _, err := Open(ctx, onceCloser{src}, Options{}); err == nil {
		t.Fatal("a source without bytes opened")
	}
}

type onceCloser struct{ endless }

func (onceCloser) Close() error { return nil }

func TestCloseInTheMiddle(t *testing.T) {
	s := open(t, pack(t, "gzip", sample(8<<20)), Options{})
	if _, err := s.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	s.Close() // must return although most is unread
}

func BenchmarkStream(b *testing.B) {
	data := sample(32 << 20)
	for _, how := range compressions {
		stored := pack(b, how, data)
		b.Run(how, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				s := open(b, stored, Options{Digest: digest(stored)})
				if err := s.Verify(); err != nil {
					b.Fatal(err)
				}
				s.Close()
			}
		})
	}
}

// Whatever is stored: an end, no more than the bytes say, and the digest decides.
func FuzzStream(f *testing.F) {
	for _, how := range compressions {
		f.Add(pack(f, how, sample(3000)), true)
	}
	f.Add([]byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x50, 0x02, 0x00, 0x10, 0x00}, false)
	f.Fuzz(func(t *testing.T, stored []byte, right bool) {
		o := Options{Digest: digest(stored), Window: 1 << 20, bombFloor: 8 << 20}
		if !right {
			o.Digest = digest(append(stored, 0))
		}
		s, err := Open(t.Context(), io.NopCloser(bytes.NewReader(stored)), o)
		if err != nil {
			return // too large a window, or foreign
		}
		defer s.Close()
		err = s.Verify()
		if right == errors.Is(err, ErrDigest) {
			t.Errorf("the digest is right: %v; verified: %v", right, err)
		}
		if s.Stored() != int64(len(stored)) {
			t.Errorf("%d of %d stored bytes were hashed", s.Stored(), len(stored))
		}
	})
}
