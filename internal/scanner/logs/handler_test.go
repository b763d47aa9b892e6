package logs_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

func TestHandler(t *testing.T) {
	l := openLogs(t, sqlite(t), "one")
	var next bytes.Buffer
	log := slog.New(l.Handler(slog.NewTextHandler(&next, nil)))
	log.Debug("only kept", "job", int64(7))
	log.With("job", int64(7), "attempt", 2, "worker", "default-0", "size", bytesize.Size(64<<20)).
		Error("out of memory", "error", errors.New("a b"), "took", 90*time.Second, "empty", "")
	log.WithGroup("g").With("job", 1).Info("grouped", slog.Group("in", "job", 2), "at", time.Unix(0, 0))
	log.Info("no job", "job", "seven", "worker", 3, slog.Attr{})
	var got []scanner.LogLine
	err := l.Query(t.Context(), scanner.LogFilter{Level: "debug", Tail: 10}, func(line scanner.LogLine) error {
		got = append(got, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []scanner.LogLine{
		{Level: "debug", Job: 7, Message: "only kept"},
		{Level: "error", Job: 7, Attempt: 2, Worker: "default-0", Message: `out of memory size=64Mi error="a b" took=1m30s empty=""`},
		{Level: "info", Message: "grouped g.job=1 g.in.job=2 g.at=1970-01-01T00:00:00Z"},
		{Level: "info", Message: "no job job=seven worker=3"},
	}
	for i := range want {
		want[i].Instance, want[i].Source = "one", "server"
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(scanner.LogLine{}, "ID", "At")); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(next.String(), "\n"); n != 3 || !strings.Contains(next.String(), "g.in.job=2") {
		t.Errorf("the next handler got %d lines: %s", n, next.String())
	}
}

// The rules for handlers of package log/slog, for what goes on to the next one.
func TestHandlerIsOne(t *testing.T) {
	l := openLogs(t, sqlite(t), "one")
	var buf bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		buf.Reset()
		return l.Handler(slog.NewJSONHandler(&buf, nil))
	}, func(t *testing.T) map[string]any { return parseJSON(t, buf.Bytes()) })
}

func FuzzMessage(f *testing.F) {
	l, close := memoryLogs(f)
	defer close()
	f.Add("plain")
	f.Add("two\nlines\x1b[31m\x00")
	f.Add(strings.Repeat("ä", 3000))
	f.Add("\xff\xfe�")
	f.Fuzz(func(t *testing.T, s string) {
		l.Append(scanner.LogLine{Level: "info", Message: s})
		var got string
		err := l.Query(t.Context(), scanner.LogFilter{Tail: 1}, func(line scanner.LogLine) error {
			got = line.Message
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > scanner.MaxLogLine || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			t.Errorf("control characters: %q", got)
		}
		if len(s) > scanner.MaxLogLine && !strings.HasSuffix(got, "(cut here)") {
			t.Errorf("it was cut without a word: %q", got[len(got)-40:])
		}
	})
}
