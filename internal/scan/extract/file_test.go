package extract

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"stella/internal/spool"
)

type stream struct{ io.Reader }

func newFile(t *testing.T, content string, size int64) *File {
	t.Helper()
	f := NewFile(Header{Path: "a", Size: size}, stream{strings.NewReader(content)}, spool.NewSpace(t.TempDir(), 8))
	t.Cleanup(f.Close)
	return f
}

func TestPeekThenEitherWay(t *testing.T) {
	content := "0123456789abcdef"
	f := newFile(t, content, 16)
	if b, err := f.Peek(4); string(b) != "0123" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	if b, err := io.ReadAll(f); string(b) != content || err != nil {
		t.Errorf("streamed %q, %v", b, err)
	}
	if _, err := f.ReaderAt(); err == nil {
		t.Error("random access after reading gives a file without its start")
	}

	f = newFile(t, content, 16)
	f.Peek(4)
	at, err := f.ReaderAt()
	if err != nil {
		t.Fatal(err)
	}
	var p [6]byte
	if _, err := at.ReadAt(p[:], 6); err != nil || string(p[:]) != "6789ab" {
		t.Errorf("%q, %v", p, err)
	}
	if f.Spooled() != 16 {
		t.Errorf("%d bytes spooled", f.Spooled())
	}
	f.Close()
	if f.Spooled() != 0 {
		t.Error("Close keeps what was spooled")
	}
}

func TestFileShorterThanItsHeader(t *testing.T) {
	if _, err := newFile(t, "short", 10).ReaderAt(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if _, err := newFile(t, "longer than that", 10).ReaderAt(); !errors.Is(err, spool.ErrLimit) {
		t.Error(err)
	}
}

func TestHugeFileIsNotSpooled(t *testing.T) {
	if _, err := newFile(t, "", MaxSpool+1).ReaderAt(); err == nil || !strings.Contains(err.Error(), "2147483649 bytes") {
		t.Error(err)
	}
}

func TestFileThatCanSeekIsNotSpooled(t *testing.T) {
	f := NewFile(Header{Path: "a", Size: 3}, bytes.NewReader([]byte("abc")), spool.NewSpace("/nonexistent", 0))
	at, err := f.ReaderAt()
	if err != nil {
		t.Fatal(err)
	}
	var p [1]byte
	if _, err := at.ReadAt(p[:], 2); err != nil || p[0] != 'c' {
		t.Errorf("%q, %v", p, err)
	}
}
