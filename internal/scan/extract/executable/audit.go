package executable

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/klauspost/compress/zlib"

	"stella/internal/jsonstream"
	"stella/internal/scan/extract/edges"
	"stella/internal/scan/inventory"
)

const (
	// maxAudit is how much a .dep-v0 section may inflate to. A crate takes about 100 bytes, the largest
	// programs have a thousand; a megabyte of zlib can be a gigabyte of JSON.
	maxAudit = 4 << 20
)

var errAuditSize = fmt.Errorf("the section .dep-v0 inflates to more than the %d bytes that were read", maxAudit)

// audit reads the section .dep-v0: zlib around JSON, as specified in
// https://github.com/rust-secure-code/cargo-auditable/blob/master/PARSING.md.
// It gives the crates that are in the program ("kind" is runtime, which is what a missing one means) and not those that
// only built it. The source of a crate (crates.io, git, local) has no place in a package URL
// without the address, which is not recorded: crates from all sources are given.
func (s *scan) audit(l *layout) error {
	if l.audit.size == 0 {
		return nil
	}
	z, err := zlib.NewReader(bufio.NewReaderSize(io.NewSectionReader(l.r, l.audit.off, l.audit.size), 4<<10))
	if err != nil {
		return s.auditDamage(err)
	}
	defer z.Close()
	a := crates{scan: s}
	err = jsonstream.Decode(s.ctx, &capped{r: z, left: maxAudit}, a.document)
	switch {
	case a.failed != nil:
		return a.failed // of the output, as it is
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case err != nil:
		return s.auditDamage(err)
	}
	return nil
}

// auditDamage is Partial, unless the file could not be read.
func (s *scan) auditDamage(err error) error {
	if errors.Is(err, errHole) {
		return err
	}
	if errors.Is(err, errAuditSize) {
		s.out.Partial(err.Error())
		return nil
	}
	s.out.Partial("the section .dep-v0 of cargo-auditable: " + inventory.Clean(err.Error()))
	return nil
}

// capped ends a reader with errAuditSize.
type capped struct {
	r    io.Reader
	left int
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left == 0 {
		var one [1]byte
		if n, err := io.ReadFull(c.r, one[:]); n == 0 {
			return 0, err
		}
		return 0, errAuditSize
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// crates turns the JSON into packages.
type crates struct {
	*scan
	links  edges.Set // of the crate that is read
	failed error     // of the output
}

func (a *crates) document(d *jsonstream.Decoder) error {
	found := false
	err := d.Object(func(key string) error {
		if key != "packages" {
			return nil
		}
		found = true
		return d.Array(func(i int) error { return a.crate(d, i) })
	})
	if err == nil && !found {
		return errors.New("it lists no packages")
	}
	return err
}

// key identifies a crate by its place in the list: dependencies are such numbers.
func (a *crates) key(i int) string { return "cargo:/" + a.scope + "#" + strconv.Itoa(i) }

func (a *crates) crate(d *jsonstream.Decoder, i int) error {
	p := inventory.Package{Type: inventory.Cargo}
	a.links.Reset()
	a.links.Provide(a.key(i))
	kind, broken := "", 0
	err := d.Object(func(key string) (err error) {
		switch key {
		case "name":
			p.Name, err = d.Text()
		case "version":
			p.Version, err = d.Text()
		case "kind":
			kind, err = d.Text()
		case "dependencies":
			err = d.Array(func(int) error {
				n, err := d.Number()
				dep, bad := strconv.Atoi(n)
				if err != nil || bad != nil || dep < 0 {
					broken++
					return soft(err)
				}
				if !a.links.Reject() {
					a.links.Require(a.key(dep))
				}
				return nil
			})
		}
		return soft(err)
	})
	if err := soft(err); err != nil {
		return err
	}
	if p.Name == "" {
		a.out.Partial(fmt.Sprintf("the section .dep-v0: crate %d has no name", i))
		return nil
	}
	if broken > 0 {
		a.out.Partial(fmt.Sprintf("the section .dep-v0: %d dependencies of crate %d could not be read", broken, i))
	}
	if kind != "" && kind != "runtime" {
		return nil
	}
	p.Name, p.Version = inventory.Clean(p.Name), inventory.Clean(p.Version)
	if p.Name == "" {
		return nil
	}
	a.links.Give(&p)
	a.links.Report(a.out, p.Name)
	a.failed = a.out.Package(&p)
	return a.failed
}

// soft drops the errors that leave the decoder usable.
func soft(err error) error {
	if errors.Is(err, jsonstream.ErrKind) || errors.Is(err, jsonstream.ErrTooLong) {
		return nil
	}
	return err
}
