package scan

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"stella/internal/scan/extract"
	"stella/internal/scan/fragment"
	"stella/internal/scan/image"
)

// pass is one reading of one layer.
type pass struct {
	e     *engine
	ctx   context.Context // one reading only
	layer *image.Layer
	w     *fragment.Writer
	file  *extract.File
	out   output
	act   *activity
	files int64
}

// buffers are what a pass leaves to the next one.
type buffers struct {
	w    *fragment.Writer
	file *extract.File
}

// decode reads a layer and keeps its fragment under key.
func (e *engine) decode(ctx context.Context, l *image.Layer, key string) (fragment.Stats, error) {
	var stats fragment.Stats
	err := e.write(ctx, l, key, func(p *pass) error {
		end, err := e.walk(ctx, l, p.visit, func(path, reason string) { p.w.Problem(path, "", reason) })
		if err != nil {
			return err
		}
		if end.damage != "" {
			p.w.Problem("", "", end.damage)
		}
		stats, err = p.w.Close(end.compressed, end.uncompressed, p.files)
		return err
	})
	return stats, err
}

// write makes a fragment with fn and keeps it under key, or nothing.
func (e *engine) write(ctx context.Context, l *image.Layer, key string, fn func(*pass) error) (err error) {
	f, err := e.store.create()
	if err != nil {
		return fmt.Errorf("keep the results of %s: %w", l, err)
	}
	defer func() {
		if err != nil {
			f.discard()
		}
	}()
	b := e.buffers.Get().(*buffers)
	defer e.buffers.Put(b)
	defer b.file.Close()
	b.w.Reset(f)
	p := &pass{e: e, ctx: ctx, layer: l, w: b.w, file: b.file, act: e.monitor.begin(l.Index)}
	defer e.monitor.end(l.Index)
	p.out.w = p.w
	if err := fn(p); err != nil {
		return err
	}
	return f.commit(key)
}

// visit records an entry, and extracts the file if an extractor wants it.
func (p *pass) visit(en entry, open content) error {
	p.act.entries.Add(1)
	if !en.kind.IsEntry() {
		p.w.Hide(en.kind, en.path)
		return p.w.Err()
	}
	p.w.Entry(en.kind, en.path, en.target)
	switch {
	case en.regular:
		p.files++
		h := extract.Header{Path: en.path, Size: en.size, Mode: en.mode}
		if x := p.e.wanted(h); x >= 0 {
			return p.extract(x, h, en.path, p.w.Seq(), open)
		}
	case en.hardlink:
		p.files++
		wants := ""
		if x := p.e.wanted(linkHeader(en.path, en.mode)); x >= 0 {
			wants = p.e.extractors[x].Name()
		}
		p.w.Link(en.path, en.target, wants, en.mode)
	}
	return p.w.Err()
}

// wanted is the index of the first extractor that wants the file, or -1.
func (e *engine) wanted(h extract.Header) int {
	for i, x := range e.extractors {
		if x.Wants(h) {
			return i
		}
	}
	return -1
}

// extract gives a file to an extractor. h has the path that the extractor shall see, at is where the file really is.
func (p *pass) extract(x int, h extract.Header, at string, seq uint64, open content) error {
	ext := p.e.extractors[x]
	p.e.monitor.extracting(p.act, at, h.Size)
	defer p.act.file.Store(nil)
	r, done, err := open()
	if err != nil {
		p.w.ProblemAt(seq, at, ext.Name(), err.Error())
		return p.w.Err()
	}
	defer done()
	p.file.Reset(h, r, p.e.space)
	p.out.begin(seq, at, ext.Name())
	start := time.Now()
	err = p.guard(ext)
	p.out.end()
	p.e.stats.extracted(x, p.layer.Index, at, p.out.packages, p.file.Spooled(), time.Since(start))
	p.e.monitor.packages.Add(p.out.packages)
	p.file.Reset(extract.Header{}, nil, p.e.space)
	switch {
	case p.w.Err() != nil:
		return p.w.Err()
	case p.ctx.Err() != nil:
		return p.ctx.Err()
	case p.e.space.Err() != nil:
		return fmt.Errorf("%s: %s: %w; name a directory with more room with --tmp-dir", p.layer, at, p.e.space.Err())
	case err != nil:
		p.w.ProblemAt(seq, at, ext.Name(), err.Error())
	}
	return p.w.Err()
}

// guard runs the extractor. A bug in one parser costs one file, not the scan.
func (p *pass) guard(x extract.Extractor) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.e.log.Error("extractor panicked; please report it", "extractor", x.Name(), "path", p.file.Path, "panic", v, "stack", string(debug.Stack()))
			err = fmt.Errorf("the extractor failed: %v", v)
		}
	}()
	return x.Extract(p.ctx, p.file, &p.out)
}

// reread reads records of a stored fragment until fn returns false.
func reread(src fragment.Source, parts fragment.Part, fn func(*fragment.Record) (bool, error)) error {
	defer closeSource(src)
	r := fragment.NewReader(src, parts)
	var rec fragment.Record
	for {
		if err := r.Next(&rec); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if more, err := fn(&rec); err != nil || !more {
			return err
		}
	}
}
