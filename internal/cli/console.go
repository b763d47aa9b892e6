package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// fallbackWidth is the width of a terminal that does not tell.
const fallbackWidth = 80

// clearLine moves to the first column and erases to the end of the line.
const clearLine = "\r\x1b[K"

// console is standard error, shared by messages and one line of progress that
// stays below them. It is safe for concurrent use.
type console struct {
	terminal bool // understands [clearLine]
	utf8     bool

	mu   sync.Mutex
	w    io.Writer
	line string
}

func newConsole(w io.Writer, getenv func(string) string) *console {
	return &console{
		w:        w,
		terminal: isTerminal(w) && getenv("TERM") != "dumb" && getenv("TERM") != "",
		utf8:     wantsUTF8(getenv),
	}
}

// Write writes a message: whole lines, above the line of progress.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.line == "" {
		return c.w.Write(p)
	}
	io.WriteString(c.w, clearLine)
	n, err := c.w.Write(p)
	io.WriteString(c.w, c.line)
	return n, err
}

// setLine replaces the line of progress; an empty one takes it away. It is for terminals only.
func (c *console) setLine(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line = cut(line, c.width()-1)
	if line == c.line {
		return
	}
	c.line = line
	io.WriteString(c.w, clearLine+line)
}

// width is the width now: terminals are resized while a scan runs.
func (c *console) width() int { return terminalWidth(c.w) }

// glyphs are what charts are drawn with.
func (c *console) glyphs() glyphs {
	if c.utf8 {
		return unicodeGlyphs
	}
	return asciiGlyphs
}

// cut shortens s to width columns, counting a rune as one.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	runes := []rune(s)
	return string(runes[:max(width, 0)])
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// resultWidth is the width of the terminal that results go to; 0 where they
// go elsewhere, and nothing is cut.
func (a *app) resultWidth() int {
	if !isTerminal(a.stdout) {
		return 0
	}
	return terminalWidth(a.stdout)
}

// resultColor reports whether results may be coloured (no-color.org).
func (a *app) resultColor() bool {
	term := a.getenv("TERM")
	return isTerminal(a.stdout) && a.getenv("NO_COLOR") == "" && term != "" && term != "dumb"
}

func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return fallbackWidth
}

// wantsUTF8 follows the order in which POSIX looks at the locale's variables.
func wantsUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(getenv(name)); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// logHandler writes log records for people: one line, no time.
type logHandler struct {
	w     io.Writer
	level slog.Level
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString("stella: ")
	switch {
	case r.Level >= slog.LevelError:
		b.WriteString("error: ")
	case r.Level >= slog.LevelWarn:
		b.WriteString("warning: ")
	}
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		if !a.Equal(slog.Attr{}) {
			fmt.Fprintf(&b, " %s=%s", a.Key, quoteIfOdd(a.Value.String()))
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	b.WriteByte('\n')
	_, err := io.WriteString(h.w, b.String())
	return err
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	c.attrs = append(c.attrs[:len(c.attrs):len(c.attrs)], attrs...)
	return &c
}

// WithGroup implements slog.Handler. A person needs no groups.
func (h *logHandler) WithGroup(string) slog.Handler { return h }

func quoteIfOdd(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '"' || r == 0x7f }) {
		return fmt.Sprintf("%q", s)
	}
	return s
}
