package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"stella/internal/scan/fragment"
	"stella/internal/scan/image"
	"stella/internal/scan/stream"
	"stella/internal/tarstream"
)

// entry is one entry of a layer, its path made clean.
type entry struct {
	path string
	kind fragment.Kind
	// regular says that a File has content of its own; hardlink that its content is that of target.
	regular, hardlink bool
	size              int64
	mode              fs.FileMode
	// target is what a symbolic link says, or the clean path that a hard link names.
	target string
}

// content opens what a regular file holds, once; done gives it back.
type content func() (r io.Reader, done func(), err error)

// visit is called for each entry of a layer; open works until it returns.
type visit func(e entry, open content) error

// walked is what is known at the end of a layer.
type walked struct {
	compressed, uncompressed int64
	// damage says why the layer could not be read to its end although it is the one
	// that was promised; empty where it could.
	damage string
}

// walk reads a layer and calls fn for each entry, and bad for each that must be left out. An error is the end of the scan: the layer
// cannot be had, is not what was promised, or fn returned it. Damage is not: what came before it counts.
func (e *engine) walk(ctx context.Context, l *image.Layer, fn visit, bad func(path, reason string)) (walked, error) {
	if e.image.Dir != "" {
		return e.walkDir(ctx, fn, bad)
	}
	src, err := l.Open(ctx)
	if err != nil {
		return walked{}, err
	}
	var window int64
	s, err := stream.Open(ctx, src, stream.Options{
		Digest:   l.Digest,
		Unpacked: l.Verify == image.VerifyUncompressed,
		Window:   e.budget.window,
		Reserve: func(ctx context.Context, n int64) error {
			if err := e.budget.reserve(ctx, n); err != nil {
				return err
			}
			window = n
			return nil
		},
		OnRead: func(n int) { e.monitor.read.Add(int64(n)) },
	})
	defer func() { e.budget.windows.Release(window) }()
	if err != nil {
		return walked{}, e.streamError(l, err)
	}
	defer s.Close()
	return e.walkTar(ctx, l, s, fn, bad)
}

// streamError words an error of the stream; the layer is named.
func (e *engine) streamError(l *image.Layer, err error) error {
	var need *stream.NeedError
	if errors.As(err, &need) {
		err = e.budget.refuse(need)
	}
	if strings.HasPrefix(err.Error(), l.String()) {
		return err
	}
	return fmt.Errorf("%s: %w", l, err)
}

func (e *engine) walkTar(ctx context.Context, l *image.Layer, s *stream.Stream, fn visit, bad func(path, reason string)) (walked, error) {
	var w walked
	tr := tarstream.NewReader(s)
	open := func() (io.Reader, func(), error) { return tr, func() {}, nil }
	last := ""
	for n := int64(0); ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return w, ctx.Err()
		}
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			if serr := s.Err(); serr != nil && !isDamage(serr) {
				return w, e.streamError(l, serr)
			}
			w.damage = fmt.Sprintf("the layer cannot be read beyond entry %d (%s): %v; what comes before is in the result", n, orStart(last), err)
			break
		}
		last = h.Name
		en, reason := entryOf(h)
		if reason != "" {
			bad(en.path, reason+"; it was left out")
			continue
		}
		if en.kind == 0 {
			continue
		}
		if err := fn(en, open); err != nil {
			return w, err
		}
	}
	if err := s.Verify(); err != nil {
		if !isDamage(err) {
			return w, e.streamError(l, err)
		}
		if w.damage == "" {
			w.damage = fmt.Sprintf("the layer is damaged behind its last entry (%s): %v", orStart(last), err)
		}
	}
	w.compressed, w.uncompressed = s.Stored(), s.Offset()
	return w, nil
}

func isDamage(err error) bool {
	var c *stream.Corrupt
	return errors.As(err, &c) || errors.Is(err, stream.ErrBomb)
}

func orStart(name string) string {
	if name == "" {
		return "its start"
	}
	if len(name) > 200 {
		name = name[:200] + "…"
	}
	return name
}

// entryOf makes an entry of a header. A reason says why an entry is left
// out; kind 0 without a reason is one that means nothing.
func entryOf(h *tarstream.Header) (e entry, reason string) {
	p, ok := clean(h.Name)
	e = entry{path: p, size: h.Size, mode: fs.FileMode(h.Mode).Perm()}
	switch {
	case h.Problem != "":
		e.path = p[:min(len(p), 200)]
		return e, h.Problem
	case !ok:
		return e, fmt.Sprintf("the entry %.200q leads out of the image's root", h.Name)
	case len(p) > fragment.MaxPath:
		e.path = p[:200] + "…"
		return e, fmt.Sprintf("the entry's name has %d bytes, and Linux allows %d", len(p), fragment.MaxPath)
	}
	if dir, base := path.Split(p); strings.HasPrefix(base, ".wh.") {
		return whiteout(strings.TrimSuffix(dir, "/"), base, h.Name)
	}
	switch h.Type {
	case tarstream.TypeGlobal:
		return e, ""
	case tarstream.TypeDir:
		e.kind = fragment.Dir
	case tarstream.TypeSymlink:
		e.kind = fragment.Symlink
		e.target = h.Linkname[:min(len(h.Linkname), fragment.MaxPath)]
	case tarstream.TypeLink:
		e.kind, e.hardlink = fragment.File, true
		if e.target, ok = clean(h.Linkname); !ok || len(e.target) > fragment.MaxPath {
			return e, "the hard link leads out of the image's root"
		}
	case tarstream.TypeReg, tarstream.TypeCont, tarstream.TypeGNUSparse:
		e.kind, e.regular = fragment.File, true
	default:
		e.kind = fragment.File
	}
	if p == "" && e.kind != fragment.Dir {
		return entry{}, "" // the root is a directory, whatever is said of it
	}
	return e, ""
}

// whiteout reads the names that remove something from the layers below
// (image-spec, layer.md). Names with a second ".wh." are aufs's own and remove nothing.
func whiteout(dir, base, name string) (entry, string) {
	switch rest := base[len(".wh."):]; {
	case rest == ".wh..opq":
		return entry{path: dir, kind: fragment.Opaque}, ""
	case strings.HasPrefix(rest, ".wh."):
		return entry{}, ""
	case rest == "" || rest == "." || rest == "..":
		return entry{path: path.Join(dir, base)}, fmt.Sprintf("the whiteout %.200q names nothing that can be removed", name)
	default:
		return entry{path: path.Join(dir, rest), kind: fragment.Whiteout}, ""
	}
}

// clean makes a path relative to the root: "./usr//bin/" is "usr/bin". False where it leads out of the root.
func clean(name string) (string, bool) {
	for strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") {
		name = name[strings.IndexByte(name, '/')+1:]
	}
	for strings.HasSuffix(name, "/") {
		name = name[:len(name)-1]
	}
	if name == "." || name == "" {
		return "", true
	}
	if isClean(name) {
		return name, true
	}
	name = path.Clean(name)
	if name == ".." || strings.HasPrefix(name, "../") {
		return name, false
	}
	if name == "." {
		return "", true
	}
	return name, true
}

// isClean spares nearly every entry the work of path.Clean.
func isClean(name string) bool {
	if name[0] == '.' && (len(name) == 1 || name[1] == '.' || name[1] == '/') {
		return false
	}
	for i := 0; ; {
		j := strings.IndexByte(name[i:], '/')
		if j < 0 {
			return true
		}
		i += j + 1
		switch rest := name[i:]; {
		case rest == "" || rest[0] == '/':
			return false
		case rest[0] == '.' && (len(rest) == 1 || rest[1] == '/' || rest[1] == '.'):
			return false
		}
	}
}

// walkDir walks a directory as if it were a layer. Hard links are files of their own there.
func (e *engine) walkDir(ctx context.Context, fn visit, bad func(path, reason string)) (walked, error) {
	var w walked
	err := e.image.Walk(ctx, func(d image.Entry) error {
		if d.Err != nil {
			bad(d.Path, d.Err.Error())
			return nil
		}
		en := entry{path: d.Path, size: d.Size, mode: d.Mode.Perm(), kind: fragment.File}
		switch d.Type {
		case image.TypeDir:
			en.kind = fragment.Dir
		case image.TypeSymlink:
			en.kind, en.target = fragment.Symlink, d.Linkname
		case image.TypeRegular:
			en.regular = true
			w.uncompressed += d.Size
		}
		return fn(en, func() (io.Reader, func(), error) {
			f, err := d.Open()
			if err != nil {
				return nil, nil, err
			}
			return f, func() { f.Close() }, nil
		})
	})
	return w, err
}
