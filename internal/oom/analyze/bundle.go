package analyze

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"

	"stella/internal/tarstream"
)

const (
	// sniffed is how much of a source is looked at to see what it is: a tar header is 512 bytes, and the beginning of a list of pods less.
	sniffed = 4 << 10
	// maxDepth bounds archives within archives: a bundle of the bundles of nodes, each of which has its logs compressed.
	maxDepth = 4
)

// Path reads a file, or all files below a directory. Links in a directory are not followed. An error says that the path itself
// cannot be read; what is wrong with single sources in it is in [Result.Unread].
func (a *Analysis) Path(ctx context.Context, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("read logs: %w", err)
	}
	if !info.IsDir() {
		return a.file(ctx, path, path)
	}
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && name == path:
			return fmt.Errorf("read logs: %w", err)
		case err != nil:
			a.unread(name, err)
		case d.Type().IsRegular():
			if err := a.file(ctx, name, name); err != nil {
				if ctx.Err() != nil {
					return err
				}
				a.unread(name, err)
			}
		}
		return nil
	})
}

func (a *Analysis) file(ctx context.Context, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read logs: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read logs: %w", err)
	}
	if !info.Mode().IsRegular() && info.Mode()&fs.ModeNamedPipe == 0 {
		return fmt.Errorf("read logs: %s is neither a file nor a directory nor a pipe", path)
	}
	return a.Reader(ctx, name, f, info.ModTime())
}

// Reader reads one log, archive or list of pods. written is when it was last written, which tells the year of
// logs that have none; zero is now. An error is one of ctx: what else is wrong is in [Result.Unread].
func (a *Analysis) Reader(ctx context.Context, name string, r io.Reader, written time.Time) error {
	a.open(ctx, name, r, written, 0)
	return ctx.Err()
}

// open finds out what a source is.
func (a *Analysis) open(ctx context.Context, name string, r io.Reader, written time.Time, depth int) {
	name = name[:min(len(name), maxName)]
	in := bufio.NewReaderSize(r, sniffed)
	head, err := in.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		a.unread(name, err)
		return
	}
	nested := depth < maxDepth
	switch kind := sniff(head); {
	case len(head) == 0:
	case kind.hint != "":
		a.unread(name, errors.New(kind.hint))
	case !nested && (kind.gzip || kind.tar):
		a.unread(name, fmt.Errorf("an archive within %d others", maxDepth))
	case kind.gzip:
		z, err := gzip.NewReader(in)
		if err != nil {
			a.unread(name, err)
			return
		}
		defer z.Close()
		a.open(ctx, name, z, written, depth+1)
	case kind.tar:
		a.tar(ctx, name, in, depth)
	case kind.pods:
		a.result.Totals.Sources++
		a.readPods(name, in)
	default:
		a.result.Totals.Sources++
		a.readLog(ctx, name, in, written)
	}
}

func (a *Analysis) tar(ctx context.Context, name string, r io.Reader, depth int) {
	t := tarstream.NewReader(r)
	for ctx.Err() == nil {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			a.unread(name, err)
			return
		}
		entry := name + ":" + h.Name
		switch {
		case h.Problem != "":
			a.unread(entry, errors.New(h.Problem))
		case h.Type == tarstream.TypeReg:
			a.open(ctx, entry, t, time.Time{}, depth+1)
		}
	}
}

// kind is what a source is, by its first bytes.
type kind struct {
	gzip, tar, pods bool
	// hint says what to do with what cannot be read.
	hint string
}

// magics are beginnings of what holds logs and is not read here.
var magics = []struct{ magic, hint string }{
	{"LPKSHHRH", "a file of systemd's journal: give what journalctl --file FILE -o json prints"},
	{"\xfd7zXZ\x00", "compressed with xz: give what xz -dc prints"},
	{"BZh", "compressed with bzip2: give what bzip2 -dc prints"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd: give what zstd -dc prints"},
	{"\x04\x22\x4d\x18", "compressed with lz4: give what lz4 -dc prints"},
	{"PK\x03\x04", "a zip archive: unpack it and give the directory"},
	{"apiVersion:", "Kubernetes objects as YAML: give what kubectl get -o json prints"},
}

func sniff(head []byte) (k kind) {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return kind{hint: m.hint}
		}
	}
	const tarMagic = 257 // where the header of a tar entry says ustar
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n")
	return kind{
		gzip: bytes.HasPrefix(head, []byte("\x1f\x8b\x08")),
		tar:  len(head) > tarMagic+5 && string(head[tarMagic:tarMagic+5]) == "ustar",
		pods: bytes.HasPrefix(text, []byte("{")) && bytes.Contains(text[:min(len(text), 256)], []byte(`"apiVersion"`)),
	}
}

func (a *Analysis) unread(name string, err error) {
	if len(a.result.Unread) < maxSources {
		a.result.Unread = append(a.result.Unread, Unread{name[:min(len(name), maxName)], err.Error()})
	}
}
