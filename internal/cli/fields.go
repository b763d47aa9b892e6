package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

// fields is one thing for people: a name and a value on each line.
type fields struct{ tw *tabwriter.Writer }

func newFields(w io.Writer) fields { return fields{newTable(w)} }

// line writes a value that is not empty.
func (f fields) line(key, value string) {
	if value != "" {
		fmt.Fprintf(f.tw, "%s:\t%s\n", key, oneLine(value))
	}
}

func (f fields) flush() error { return f.tw.Flush() }

// momentText is a moment and its age; empty for none.
func momentText(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", timeText(t), since(now, t))
}

// memoryText is an amount that is 0 where it is not known.
func memoryText(n int64) string {
	if n == 0 {
		return ""
	}
	return bytesize.Text(n)
}

func exitText(code *int) string {
	if code == nil {
		return ""
	}
	return fmt.Sprint(*code)
}

// layerText is the layer being read; empty where there is none.
func layerText(p *scanner.Progress) string {
	if p.Layer < 0 || p.Layers == 0 {
		return ""
	}
	return fmt.Sprint(p.Layer)
}

// yesNo is a bool for people.
func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
