package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"stella/internal/scanner"
)

func TestStatsTable(t *testing.T) {
	workers := inOrder(t)
	for _, tt := range []struct {
		width int
		g     glyphs
		want  string
	}{
		{0, unicodeGlyphs, `
NAME        STATE    JOB  MEMORY                                 CPU  LAYERS  READ  NOW
default-2   busy     12   ██████████  95%  61.0 MiB of 64.0 MiB  99%  3/127   25%   layer 5: srv/�big.jar
default-10  idle     -    █░░░░░░░░░  14%   9.0 MiB of 64.0 MiB  0%   -       -     -
default-2   waiting  -    -                                      0%   -       -     -
`},
		{80, asciiGlyphs, `
NAME        STATE    JOB  MEMORY                                 CPU  LAYERS
default-2   busy     12   ##########  95%  61.0 MiB of 64.0 MiB  99%  3/127
default-10  idle     -    #.........  14%   9.0 MiB of 64.0 MiB  0%   -
default-2   waiting  -    -                                      0%   -
`},
		{24, asciiGlyphs, `
NAME        STATE    JOB
default-2   busy     12
default-10  idle     -
default-2   waiting  -
`},
	} {
		var out bytes.Buffer
		if err := statsRows(workers, tt.g, false).write(&out, tt.width, tt.g.ellipsis); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want[1:], out.String()); diff != "" {
			t.Errorf("width %d (-want +got):\n%s", tt.width, diff)
		}
	}
}

func TestMemoryBar(t *testing.T) {
	for _, tt := range []struct {
		n, limit int64
		want     string
	}{
		{0, 64 << 20, "..........   0%       0 B of 64.0 MiB"},
		{32 << 20, 64 << 20, "#####.....  50%  32.0 MiB of 64.0 MiB"},
		{64 << 20, 64 << 20, "########## 100%  64.0 MiB of 64.0 MiB"},
		{70 << 20, 64 << 20, "########## 109%  70.0 MiB of 64.0 MiB"},
		{5 << 20, 0, "5.0 MiB"},
		{0, 0, ""},
	} {
		if got := memoryBar(tt.n, tt.limit, asciiGlyphs); got != tt.want {
			t.Errorf("memoryBar(%d, %d) = %q; want %q", tt.n, tt.limit, got, tt.want)
		}
	}
	for n, want := range map[int64]string{79: "x", 80: "\x1b[33mx\x1b[0m", 95: "\x1b[31mx\x1b[0m", 120: "\x1b[31mx\x1b[0m"} {
		if got := heat(n, 100, "x"); got != want {
			t.Errorf("heat(%d, 100) = %q; want %q", n, got, want)
		}
	}
}

// Colour goes around the padded cell, so it changes no width.
func TestStatsColor(t *testing.T) {
	workers := inOrder(t)
	var plain, colored bytes.Buffer
	if err := errors.Join(statsRows(workers, asciiGlyphs, false).write(&plain, 60, ".."), statsRows(workers, asciiGlyphs, true).write(&colored, 60, "..")); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(colored.String(), "\x1b[31m##########  95%") {
		t.Errorf("95%% is not red: %q", colored.String())
	}
	if diff := cmp.Diff(plain.String(), strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(colored.String())); diff != "" {
		t.Errorf("(-plain +coloured):\n%s", diff)
	}
}

// terminal is a pseudo-terminal: what is written to file can be read from screen.
type terminal struct {
	file, control *os.File

	mu     sync.Mutex
	screen bytes.Buffer
	news   chan struct{}
}

func openTerminal(t *testing.T, columns, lines uint16) *terminal {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { control.Close() })
	if err := unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{file: file, control: control, news: make(chan struct{}, 1)}
	x.resize(t, columns, lines)
	var reader sync.WaitGroup
	reader.Go(func() { io.Copy(x, control) })
	t.Cleanup(func() {
		file.Close() // the last one: the reader sees the end
		reader.Wait()
	})
	return x
}

func (x *terminal) resize(t *testing.T, columns, lines uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(x.file.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines}); err != nil {
		t.Fatal(err)
	}
}

func (x *terminal) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case x.news <- struct{}{}:
	default:
	}
	return x.screen.Write(p)
}

// await waits until ok of what has been shown so far, and returns it.
func (x *terminal) await(t *testing.T, what string, ok func(shown string) bool) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		x.mu.Lock()
		shown := x.screen.String()
		x.mu.Unlock()
		if ok(shown) {
			return shown
		}
		select {
		case <-x.news:
		case <-timeout:
			t.Fatalf("no %s within 20 s; shown was %q", what, shown)
		}
	}
}

// frames takes what was shown apart; each frame is its lines.
func frames(shown string) [][]string {
	var all [][]string
	for _, f := range strings.Split(shown, cursorHome)[1:] {
		f, _, _ = strings.Cut(f, clearBelow)
		all = append(all, strings.Split(strings.NewReplacer(clearRest, "", "\r", "").Replace(f), "\n"))
	}
	return all
}

func TestWatchOnATerminal(t *testing.T) {
	var mu sync.Mutex
	away := false
	f := newFakeService(t, map[string]any{"GET /v1/workers": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			refuse(http.StatusInternalServerError, "on fire")(w, r)
			return
		}
		writeJSON(w, crew())
	})})
	x := openTerminal(t, 30, 3)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	env := map[string]string{"STELLA_SERVER": f.address, "TERM": "xterm", "NO_COLOR": "1", "LANG": "C.UTF-8"}
	var stderr bytes.Buffer
	done := make(chan ExitCode, 1)
	go func() {
		done <- Main(ctx, Options{
			Args: []string{"scanner", "workers", "stats", "--watch", "--interval", "100ms"}, Stdout: x.file, Stderr: &stderr,
			Getenv: func(k string) string { return env[k] },
		})
	}()

	// A small terminal: each frame in the same place, and nothing beyond its edges.
	shown := x.await(t, "third frame", func(s string) bool { return strings.Count(s, clearBelow) >= 3 })
	if !strings.HasPrefix(shown, enterScreen) {
		t.Errorf("began with %q", shown[:min(len(shown), 20)])
	}
	for _, frame := range frames(shown) {
		if len(frame) > 3 {
			t.Errorf("a frame of %d lines on a terminal of 3: %q", len(frame), frame)
		}
		for _, line := range frame {
			if n := utf8.RuneCountInString(line); n > 30 {
				t.Errorf("a line of %d columns on a terminal of 30: %q", n, line)
			}
		}
	}
	// A larger one, from the next frame on.
	x.resize(t, 120, 20)
	shown = x.await(t, "wider frame", func(s string) bool { return strings.Contains(s, "LAYERS") && strings.HasSuffix(s, clearBelow) })
	all := frames(shown)
	last := all[len(all)-1]
	if len(last) != 5 || !strings.Contains(last[0], "3 workers, 1 busy, 70.0 MiB of 128 MiB") || !strings.HasPrefix(last[2], "default-2 ") || !strings.Contains(last[2], "██████████  95%") {
		t.Errorf("a frame is %q", last)
	}
	if strings.Contains(shown, "\x1b[31m") {
		t.Error("there is colour in spite of NO_COLOR")
	}
	// The server goes away: what was known stays, and it is said.
	mu.Lock()
	away = true
	mu.Unlock()
	x.await(t, "word that the server is away", func(s string) bool {
		all := frames(s)
		last := all[len(all)-1]
		return len(last) == 5 && strings.Contains(last[0], "the server does not answer, trying again") && strings.HasPrefix(last[2], "default-2 ")
	})
	// Ctrl-C: the terminal is as it was.
	interrupt()
	if code := <-done; code != ExitOK || stderr.Len() > 0 {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
	x.await(t, "end", func(s string) bool { return strings.HasSuffix(s, leaveScreen) })
}

// Elsewhere than on a terminal: one table below the other, and no control sequences.
func TestWatchOffATerminal(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/workers": []scanner.Worker{}})
	for _, tt := range []struct{ format, want string }{
		{"table", "  0 workers, 0 busy, 0 B of 0 B\nNAME  STATE  JOB  MEMORY  CPU  LAYERS  READ  NOW\n"},
		{"json", "[]\n"},
		{"yaml", "---\n[]\n"},
	} {
		ctx, interrupt := context.WithCancel(t.Context())
		var out bytes.Buffer
		w := writerFunc(func(p []byte) (int, error) {
			n, err := out.Write(p)
			if strings.Count(out.String(), tt.want) == 2 {
				interrupt()
			}
			return n, err
		})
		code := Main(ctx, Options{
			Args:   []string{"scanner", "workers", "stats", "-w", "--interval", "100ms", "--server", f.address, "-o", tt.format},
			Stdout: w, Stderr: io.Discard, Getenv: func(string) string { return "" },
		})
		interrupt()
		if code != ExitOK || strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), tt.want) != 2 {
			t.Errorf("%s: exit %d, %q", tt.format, code, out.String())
		}
	}
}

// A reader that went away ends the watch, without a word.
func TestWatchOfAReaderThatWentAway(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/workers": []scanner.Worker{}})
	for _, format := range []string{"table", "json", "yaml"} {
		var stderr bytes.Buffer
		code := Main(t.Context(), Options{
			Args:   []string{"scanner", "workers", "stats", "-w", "--server", f.address, "-o", format},
			Stdout: writerFunc(func([]byte) (int, error) { return 0, unix.EPIPE }), Stderr: &stderr, Getenv: func(string) string { return "" },
		})
		if code != ExitOK || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, %q", format, code, stderr.String())
		}
	}
}
