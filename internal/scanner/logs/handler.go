package logs

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"stella/internal/scanner"
)

// levels are in the order of their numbers in the database.
var levels = []string{"debug", "info", "warn", "error"}

// levelNumber is a level's number; what is none of them is information.
func levelNumber(name string) int64 {
	if i := slices.Index(levels, name); i >= 0 {
		return int64(i)
	}
	return 1
}

// LevelName is the name of a level in the log.
func LevelName(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "error"
	case level >= slog.LevelWarn:
		return "warn"
	case level >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

// Handler gives records of slog to next, as far as next wants them, and all to
// the log, with the source "server". The attributes job, attempt and worker
// become the line's own; the others stand behind the message as key=value.
func (l *Logs) Handler(next slog.Handler) slog.Handler {
	return &handler{logs: l, next: next}
}

// handler is a slog.Handler. What With gave it is already in line.
type handler struct {
	logs  *Logs
	next  slog.Handler
	line  scanner.LogLine // attributes taken out so far; Message has the others, each with a space before it
	group string          // "a.b." for attributes to come
}

// Enabled implements slog.Handler: the log keeps everything, so that it can be asked for afterwards.
func (*handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	line := h.line
	r.Attrs(func(a slog.Attr) bool {
		take(&line, h.group, a)
		return true
	})
	line.At, line.Level, line.Source = r.Time, LevelName(r.Level), "server"
	line.Message = r.Message + line.Message
	h.logs.Append(line)
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	for _, a := range attrs {
		take(&with.line, h.group, a)
	}
	with.next = h.next.WithAttrs(attrs)
	return &with
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group += name + "."
	with.next = h.next.WithGroup(name)
	return &with
}

// take puts an attribute into the line's fields, or behind its message.
func take(line *scanner.LogLine, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, inner := range v.Group() {
			take(line, group, inner)
		}
		return
	}
	if a.Key == "" && v.Any() == nil { // slog leaves out empty attributes
		return
	}
	switch key := group + a.Key; {
	case key == "job" && v.Kind() == slog.KindInt64:
		line.Job = v.Int64()
	case key == "attempt" && v.Kind() == slog.KindInt64:
		line.Attempt = int(v.Int64())
	case key == "worker" && v.Kind() == slog.KindString:
		line.Worker = v.String()
	default:
		line.Message += " " + key + "=" + quoted(v)
	}
}

// quoted is a value in one word, in quotes where it would be several.
func quoted(v slog.Value) string {
	s := v.String()
	if v.Kind() == slog.KindTime {
		s = v.Time().UTC().Format(time.RFC3339Nano)
	}
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == '"' || r == '=' || unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// tidy makes a line of any text: valid, without control characters, and not too long.
func tidy(s string) string {
	const cut = " … (cut here)"
	if len(s) > scanner.MaxLogLine {
		s = strings.ToValidUTF8(s[:scanner.MaxLogLine-len(cut)], "") + cut
	}
	return strings.Map(func(r rune) rune {
		if r != '\t' && (unicode.IsControl(r) || r == unicode.ReplacementChar) {
			return ' '
		}
		return r
	}, s)
}
