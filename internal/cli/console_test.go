package cli

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"stella/internal/scan"
)

func TestConsoleKeepsTheLineBelow(t *testing.T) {
	var out bytes.Buffer
	c := &console{w: &out}
	c.setLine("working")
	c.Write([]byte("a message\n"))
	c.setLine("")
	want := clearLine + "working" + clearLine + "a message\n" + "working" + clearLine
	if out.String() != want {
		t.Errorf("wrote %q\nwant  %q", out.String(), want)
	}
	c.setLine(strings.Repeat("x", 500))
	if n := len(c.line); n >= fallbackWidth {
		t.Errorf("a line of %d columns wraps on a terminal of %d", n, fallbackWidth)
	}
}

func TestLogHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(&logHandler{w: &out, level: slog.LevelInfo}).With("image", "app")
	log.Debug("not said")
	log.Info("read", "file", "a b", "n", 3)
	log.Warn("careful")
	want := "stella: read image=app file=\"a b\" n=3\nstella: warning: careful image=app\n"
	if out.String() != want {
		t.Errorf("wrote %q\nwant  %q", out.String(), want)
	}
}

func TestWantsUTF8(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "C.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.utf8"}, true},
		{map[string]string{"LANG": "C.UTF-8", "LC_ALL": "C"}, false},
		{map[string]string{"LANG": "C", "LC_CTYPE": "en_GB.UTF-8"}, true},
	} {
		if got := wantsUTF8(func(k string) string { return tt.env[k] }); got != tt.want {
			t.Errorf("wantsUTF8(%v) = %v", tt.env, got)
		}
	}
}

func TestProgressText(t *testing.T) {
	s := scan.Snapshot{Phase: scan.PhaseLayers, Layers: 12, Done: 3, Cached: 1, Read: 1 << 30, Total: 4 << 30, Packages: 12345,
		Active: []scan.Active{{Layer: 1}, {Layer: 2, Path: "usr/lib/\x1b]0;x"}}}
	for _, tt := range []struct {
		snapshot scan.Snapshot
		want     string
	}{
		{scan.Snapshot{}, "opening app"},
		{s, "layers 3/12 (1 cached)  25% of 4.0 GiB  12,345 packages  \uFFFD]0;x"},
		{scan.Snapshot{Phase: scan.PhaseSquash, Layers: 1, Packages: 1}, "combining 1 layer, 1 package"},
		{scan.Snapshot{Phase: scan.PhaseDone, Packages: 2}, "writing the result, 2 packages"},
	} {
		if got := progressText("app", tt.snapshot, true); got != tt.want {
			t.Errorf("progressText(%s) = %q; want %q", tt.snapshot.Phase, got, tt.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := countText(n); got != want {
			t.Errorf("countText(%d) = %q; want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{90 * time.Second: "1m30s", 1234 * time.Millisecond: "1.23s", 1500 * time.Microsecond: "1.5ms", 900: "1µs"} {
		if got := durationText(d); got != want {
			t.Errorf("durationText(%d) = %q; want %q", d, got, want)
		}
	}
}
