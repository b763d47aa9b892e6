package cli

import (
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	columnGap = "  "
	// leastShort is what is left of a column that is shortened before others go.
	leastShort = 16
)

// rows is a table for people: aligned with spaces and without lines, as kubectl
// does. On a terminal that is too narrow for it, one column and the last one are
// shortened in their middle, and then columns at the right are left out: the
// important ones stand at the left.
type rows struct {
	head  []string
	cells [][]string
	// flex is the index of the column that is shortened first.
	flex int
	// bare leaves out the head.
	bare bool
	// paint colours a padded cell; nil colours nothing.
	paint func(row, column int, text string) string
}

func newRows(flex int, head ...string) *rows { return &rows{head: head, flex: flex} }

// add adds a row. Cells may hold text from images: what a terminal would obey is
// replaced, and an empty cell is shown as a dash.
func (r *rows) add(cells ...string) {
	for i, c := range cells {
		cells[i] = oneLine(c)
		if c == "" {
			cells[i] = "-"
		}
	}
	r.cells = append(r.cells, cells)
}

// write writes the table; width 0 shortens nothing.
func (r *rows) write(w io.Writer, width int, ellipsis string) error {
	widths := r.layout(width)
	var b strings.Builder
	line := func(row int, cells []string) {
		for i, width := range widths {
			text := shorten(cells[i], width, ellipsis)
			if i < len(widths)-1 {
				text += strings.Repeat(" ", width-utf8.RuneCountInString(text))
			}
			if r.paint != nil && row >= 0 {
				text = r.paint(row, i, text)
			}
			if i > 0 {
				b.WriteString(columnGap)
			}
			b.WriteString(text)
		}
		b.WriteByte('\n')
	}
	if !r.bare {
		line(-1, r.head)
	}
	for i, cells := range r.cells {
		line(i, cells)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// layout is the width of each column that is shown.
func (r *rows) layout(width int) []int {
	natural := make([]int, len(r.head))
	for i, h := range r.head {
		natural[i] = utf8.RuneCountInString(h)
		for _, cells := range r.cells {
			natural[i] = max(natural[i], utf8.RuneCountInString(cells[i]))
		}
	}
	if width == 0 {
		return natural
	}
	for n := len(natural); ; n-- {
		if fitted := r.fit(natural[:n], width); fitted != nil || n <= 2 {
			return fitted
		}
	}
}

// fit shortens the flexible column, and then the last one, so that columns are no
// wider than width. It is nil where too little of them would be left; two columns always fit.
func (r *rows) fit(natural []int, width int) []int {
	last := len(natural) - 1
	room := width - len(columnGap)*last
	for i, w := range natural {
		if i != r.flex && i != last {
			room -= w
		}
	}
	fitted := slices.Clone(natural)
	if r.flex < last {
		least := min(natural[last], leastShort)
		fitted[r.flex] = min(natural[r.flex], max(room-least, 1))
		if fitted[r.flex] < min(natural[r.flex], leastShort) && len(natural) > 2 {
			return nil
		}
		room -= fitted[r.flex]
	}
	if room < min(natural[last], leastShort) && len(natural) > 2 {
		return nil
	}
	fitted[last] = min(natural[last], max(room, 1))
	return fitted
}

// shorten takes the middle out of a text that is too long: the ends of a
// reference, its registry and its tag, say most.
func shorten(s string, width int, ellipsis string) string {
	runes := []rune(s)
	room := width - utf8.RuneCountInString(ellipsis)
	switch {
	case len(runes) <= width:
		return s
	case room < 2:
		return string(runes[:width])
	}
	left := room / 2
	return string(runes[:left]) + ellipsis + string(runes[len(runes)-(room-left):])
}
