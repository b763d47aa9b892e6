package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The control sequences that a live view needs; every terminal since xterm has them.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the alternate screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l" // and back: what was there before is there again
	cursorHome  = "\x1b[H"
	clearRest   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// followed is the error of a command that shows what comes until somebody presses Ctrl-C: that is how it is meant to end.
func followed(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// live is a view on standard output that is drawn again and again: on a terminal in
// the same place, on a screen of its own, and elsewhere one below the other. It has
// one owner, who must call close.
//
// Each frame asks for the terminal's size and fits into it, so a terminal that is
// resized is right again with the next frame.
type live struct {
	w      io.Writer
	screen bool
	begun  bool
}

func (a *app) newLive() *live {
	term := a.getenv("TERM")
	return &live{w: a.stdout, screen: isTerminal(a.stdout) && term != "" && term != "dumb"}
}

// draw shows a frame. Its lines are no wider than the terminal; those that do not
// fit below are left out.
func (l *live) draw(frame string) error {
	if !l.screen {
		if l.begun {
			frame = "\n" + frame
		}
		l.begun = true
		_, err := io.WriteString(l.w, frame)
		return err
	}
	var b strings.Builder
	if !l.begun {
		b.WriteString(enterScreen)
		l.begun = true
	}
	b.WriteString(cursorHome)
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	for i, line := range lines[:min(len(lines), terminalHeight(l.w))] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + clearRest)
	}
	b.WriteString(clearBelow)
	_, err := io.WriteString(l.w, b.String()) // at once, so that nothing flickers
	return err
}

// close gives the terminal back as it was.
func (l *live) close() {
	if l.screen && l.begun {
		io.WriteString(l.w, leaveScreen)
	}
}

// fallbackHeight is the height of a terminal that does not tell.
const fallbackHeight = 24

func terminalHeight(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 {
			return int(size.Row)
		}
	}
	return fallbackHeight
}
