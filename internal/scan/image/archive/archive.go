// Package archive finds members of a tar file by name and reads them in
// place, without unpacking and without an index of the whole file.
//
// Words: a member is one entry of the tar; its name is clean, relative and
// slash-separated. Where a name occurs twice the last one counts, as it would
// after unpacking. A member that is a link stands for what it leads to.
//
// Hazards: a tar can hold millions of members, so only a bounded number is remembered, and
// names that are not among them cost another pass over the headers. Links can lead in
// circles and out of the archive. Sparse members have no contiguous content and are refused.
package archive

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"stella/internal/spool"
)

var (
	// ErrNotTar says that a file is no tar archive at all.
	ErrNotTar = errors.New("not a tar archive")
	// ErrNoMember says that the archive has no member of that name.
	ErrNoMember = errors.New("no such member")
)

// Archive is an open tar file. It is safe for concurrent use.
type Archive struct {
	r     io.ReaderAt
	size  int64
	close func()

	known    map[string]entry // the first maxKnown names
	overflow bool             // there are names that are not in known
}

// Open reads the headers of a tar file once. The file is the archive's from then
// on, also after an error; it must not be a FIFO that was opened to wait. A file packed with gzip
// (docker save | gzip) cannot be read at random, so it is unpacked first, to
// a file without a name in tempDir ("" means the system's), and log says so.
func Open(ctx context.Context, f *os.File, tempDir string, log *slog.Logger) (*Archive, error) {
	a, err := open(ctx, f, tempDir, log)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("archive %s: %w", f.Name(), err)
	}
	return a, nil
}

func open(ctx context.Context, f *os.File, tempDir string, log *slog.Logger) (*Archive, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file; an archive is read at random places: write it to a file first")
	}
	magic := make([]byte, 6)
	n, err := f.ReadAt(magic, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	packed, err := compression(magic[:n])
	if err != nil {
		return nil, err
	}
	a := &Archive{r: f, size: info.Size(), close: func() { f.Close() }}
	if packed {
		if a, err = unpack(ctx, f, info.Size(), tempDir, log); err != nil {
			return nil, err
		}
		f.Close()
	}
	if err := a.index(ctx); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Close closes the file. Members that are being read fail from then on.
func (a *Archive) Close() error {
	a.close()
	return nil
}

// compression reports whether the file is packed with gzip, and refuses what Stella does not unpack.
func compression(magic []byte) (bool, error) {
	for _, c := range []struct{ magic, tool string }{
		{"\x28\xb5\x2f\xfd", "zstd"}, {"\xfd7zXZ\x00", "xz"}, {"BZh", "bzip2"}, {"\x04\x22\x4d\x18", "lz4"},
	} {
		if bytes.HasPrefix(magic, []byte(c.magic)) {
			return false, fmt.Errorf("%w but packed with %s; unpack it first: %s -d FILE", ErrNotTar, c.tool, c.tool)
		}
	}
	return bytes.HasPrefix(magic, []byte("\x1f\x8b")), nil
}

// unpack spools the archive decompressed. The bound is half of the free space: a
// small file can unpack to anything, and a full disk hurts others on the node.
func unpack(ctx context.Context, f *os.File, size int64, dir string, log *slog.Logger) (*Archive, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	if mem, err := spool.OnMemory(dir); err != nil {
		return nil, err
	} else if mem {
		return nil, fmt.Errorf("is packed with gzip, and the temporary directory %s is kept in memory, where unpacking would take as much memory as the image has bytes; unpack it first (gunzip %s) or choose a temporary directory on a disk",
			dir, filepath.Base(f.Name()))
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	limit := int64(st.Bavail) * st.Bsize / 2
	log.Info("archive is packed with gzip: unpacking it to a temporary file, since it must be read at random places",
		"archive", f.Name(), "packed_bytes", size, "dir", dir, "most_bytes", limit)

	zr, err := gzip.NewReader(bufio.NewReaderSize(contextReader{ctx, io.NewSectionReader(f, 0, size)}, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	b := spool.NewSpace(dir, 0).New()
	if err := b.ReadAll(zr, limit); err != nil {
		b.Close()
		if errors.Is(err, spool.ErrLimit) {
			err = fmt.Errorf("more than %d bytes, which is half of the space that is free in %s", limit, dir)
		}
		return nil, fmt.Errorf("unpack: %w", err)
	}
	log.Info("archive is unpacked", "archive", f.Name(), "bytes", b.Size())
	return &Archive{r: b, size: b.Size(), close: b.Close}, nil
}

// contextReader makes a long copy end with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
