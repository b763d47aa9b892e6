package analyze

import (
	"context"
	"io"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/kmsg"
	"stella/internal/oom/notice"
)

// readLog reads one log.
func (a *Analysis) readLog(ctx context.Context, name string, r io.Reader, written time.Time) {
	a.source++
	a.boot++
	l := logReader{a: a, s: Source{Name: name}}
	in := &counted{r: r}
	sum, err := kmsg.Files(ctx, in, kmsg.FileOptions{
		Location: a.options.Location, Year: a.options.Year, Written: written, PageSize: a.options.PageSize,
		Other: l.other, OtherWords: notice.Words, Unanswered: l.unanswered,
	}, l.report)
	if err != nil && ctx.Err() == nil {
		a.unread(name, err)
	}
	l.close()
	l.s.Cut, l.s.First, l.s.Last = sum.Cut, moved(sum.First, l.s.Moved), moved(sum.Last, l.s.Moved)
	a.result.Totals.Bytes += in.n
	a.result.Totals.Lines += sum.Lines
	a.told(l.s)
}

// told lists a source that told of something.
func (a *Analysis) told(s Source) {
	a.result.Totals.Told += s.Kills
	if s.Kills+s.Invocations+s.Notices+s.Pods > 0 && len(a.result.Sources) < maxSources {
		a.result.Sources = append(a.result.Sources, s)
	}
}

// logReader keeps what one log tells until it is known whether its times are right.
type logReader struct {
	a       *Analysis
	s       Source
	kills   []*finding
	invoked []*finding
	heard   []*heard
	sure    bool // Moved is known
}

func (l *logReader) report(r oom.Report) error {
	l.s.Kills++
	l.kills = l.a.add(r, l.kills)
	return nil
}

func (l *logReader) unanswered(r oom.Report) {
	l.s.Invocations++
	if len(l.a.invoked)+len(l.invoked) >= maxNotices {
		l.a.result.Totals.LeftOut++
		return
	}
	if l.a.tasks+len(r.Tasks) > maxTasks {
		r.TasksLeftOut += len(r.Tasks)
		r.Tasks = nil
	}
	l.a.tasks += len(r.Tasks)
	l.invoked = append(l.invoked, &finding{Report: r, source: l.a.source, boot: l.a.boot, witnesses: []oom.Witness{oom.WitnessLog}})
}

// other hears a line that is not the kernel's.
func (l *logReader) other(line kmsg.Line) {
	n, ok := notice.Line(line.Text, line.Time)
	if !ok {
		return
	}
	l.s.Notices++
	own := !n.Time.Equal(line.Time)
	if own && !line.Time.IsZero() && !l.sure {
		l.s.Moved, l.sure = shift(line.Time, n.Time), true
	}
	if len(l.a.notices)+len(l.heard) >= maxNotices {
		l.a.result.Totals.LeftOut++
		return
	}
	l.heard = append(l.heard, &heard{Notice: n, source: l.a.source, node: string(line.Node), lineTime: !own})
}

// close gives to the analysis what was read, with times as they are.
func (l *logReader) close() {
	if d := l.s.Moved; d != 0 {
		for _, f := range append(l.kills, l.invoked...) {
			f.Time = moved(f.Time, d)
		}
		for _, n := range l.heard {
			if n.lineTime {
				n.Time = moved(n.Time, d)
			}
		}
	}
	l.a.merge(l.kills)
	l.a.mergeInvoked(l.invoked)
	for _, n := range l.heard {
		l.a.hear(n)
	}
}

func moved(t time.Time, d time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(d)
}
