// Package osrelease reads os-release(5), the file in which a distribution
// names itself.
//
// The file is a list of shell assignments, KEY=value, without expansion.
//
// Hazards: values are quoted by the rules of the shell; usually
// etc/os-release is a symbolic link to usr/lib/os-release, which may stand in another layer. Whose
// distribution it is, the image's or that of a system inside it, the path says: every one is reported.
package osrelease

import (
	"context"
	"fmt"
	"io"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/extract/pkgdb"
	"stella/internal/scan/inventory"
)

const (
	etcFile = "etc/os-release"
	usrFile = "usr/lib/os-release"
)

// maxFile is the largest os-release that is read. Real ones have some hundred bytes.
const maxFile = 64 << 10

// Extractor reads os-release files below any root of the image.
type Extractor struct{}

// New returns the extractor.
func New() extract.Extractor { return Extractor{} }

// Name implements extract.Extractor.
func (Extractor) Name() string { return "osrelease" }

// Version implements extract.Extractor.
func (Extractor) Version() int { return 1 }

// Databases implements extract.Databases.
func (Extractor) Databases() []string { return []string{etcFile, usrFile} }

// Wants implements extract.Extractor.
func (Extractor) Wants(h extract.Header) bool {
	if !strings.HasSuffix(h.Path, "/os-release") {
		return false
	}
	_, etc := pkgdb.Root(h.Path, etcFile)
	_, usr := pkgdb.Root(h.Path, usrFile)
	return etc || usr
}

// Extract implements extract.Extractor.
func (Extractor) Extract(ctx context.Context, f *extract.File, out extract.Output) error {
	lines := pkgdb.NewLines(ctx, io.LimitReader(f, maxFile))
	defer lines.Close()
	var r inventory.Release
	found := false
	for lines.Next() {
		key, value, ok := assignment(string(lines.Bytes()))
		if !ok {
			continue
		}
		if to := target(&r, key); to != nil {
			*to, found = inventory.Clean(value), true
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d of os-release: %w", lines.Number(), err)
	}
	if f.Size > maxFile {
		out.Partial(fmt.Sprintf("os-release has %d bytes; only the first %d KiB were read", f.Size, maxFile>>10))
	}
	if !found {
		out.Partial("os-release names no distribution: it has none of ID, ID_LIKE, VERSION_ID, VERSION_CODENAME, PRETTY_NAME and NAME")
		return nil
	}
	return out.Release(&r)
}

// target is where the value of a key belongs, nil for a key that is not wanted.
func target(r *inventory.Release, key string) *string {
	switch key {
	case "ID":
		return &r.ID
	case "ID_LIKE":
		return &r.IDLike
	case "VERSION_ID":
		return &r.VersionID
	case "VERSION_CODENAME":
		return &r.VersionCodename
	case "PRETTY_NAME":
		return &r.PrettyName
	case "NAME":
		return &r.Name
	}
	return nil
}

// assignment reads one line. Comments, empty lines and what is no assignment are not ok.
func assignment(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	key, value, ok = strings.Cut(line, "=")
	if !ok || key == "" || strings.HasPrefix(key, "#") {
		return "", "", false
	}
	return key, unquote(value), true
}

// unquote undoes the quoting of a shell word: '…' keeps everything, "…" lets
// a backslash quote only $, `, " and itself, outside of both a backslash quotes
// anything and a space ends the word.
func unquote(s string) string {
	var b strings.Builder
	var quote byte // the quote that is open, 0 outside
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String()
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(s) && (quote == 0 || strings.IndexByte("$`\"\\", s[i+1]) >= 0):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
