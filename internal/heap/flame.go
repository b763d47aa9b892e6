package heap

import (
	"bufio"
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"stella/internal/bytesize"
)

// The measures of a drawing, in pixels. Text is in a font whose letters are all as wide.
const (
	width, row   = 1200, 18
	margin, head = 10, 46
	letter       = 7
	// narrowest is the width below which a box is left out; what it stands for is still in the one below it.
	narrowest = 0.5
	// maxBoxes and maxRows bound the drawing: with 200 bytes each it has some 1 MB at most.
	maxBoxes, maxRows = 4000, 100
	// maxCalls bounds the boxes before the narrow ones are left out, at some 200 bytes each; what more call stays with who calls them.
	maxCalls = 1 << 17
)

// box is one function in the drawing, with all that calls it from the same stack, and all that it calls.
type box struct {
	name          string
	before, after int64
	calls         map[string]*box
}

// Flame draws what is in use as a flame graph (Gregg 2011), an SVG that needs nothing else: who calls is below, who allocates on top, and the width is
// the bytes in use. With a profile of before, which can be nil, the redder a box the more of it is new, and what did not grow is grey.
func Flame(w io.Writer, before, after *Profile) error {
	root, left := &box{name: "all"}, maxCalls
	root.grow(after, &left, func(b *box, bytes int64) { b.after += bytes })
	title := "Heap in use: " + bytesize.Text(root.after)
	if before != nil {
		root.grow(before, &left, func(b *box, bytes int64) { b.before += bytes })
		title += ", " + change(root.after-root.before) + " since " + stamp(before)
	}
	title += ", at " + stamp(after)
	d := drawing{differs: before != nil, total: float64(max(root.after, 1))}
	d.draw(root, 0, 0)
	out := bufio.NewWriter(w)
	height := head + d.rows*row + margin
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="monospace" font-size="11">`+"\n", width, height, width, height)
	fmt.Fprintf(out, `<rect width="100%%" height="100%%" fill="#fff"/><text x="%d" y="18" font-size="14">%s</text>`+"\n", margin, html.EscapeString(title))
	fmt.Fprintf(out, `<text x="%d" y="36" fill="#555">%s</text>`+"\n", margin, html.EscapeString(d.legend()))
	for _, p := range d.boxes {
		p.write(out, height, &d)
	}
	out.WriteString("</svg>\n")
	return out.Flush()
}

// stamp is when a profile was taken.
func stamp(p *Profile) string {
	if p.Time.IsZero() {
		return "an unknown time"
	}
	return p.Time.UTC().Format("2006-01-02 15:04:05Z")
}

// change is a difference with its sign.
func change(bytes int64) string {
	if bytes < 0 {
		return "-" + bytesize.Text(-bytes)
	}
	return "+" + bytesize.Text(bytes)
}

// grow adds the stacks of a profile, with at most left new boxes.
func (b *box) grow(p *Profile, left *int, add func(b *box, bytes int64)) {
	var names []string
	for i := range p.stacks {
		names = names[:0]
		for f := range p.frames(&p.stacks[i]) {
			names = append(names, f.Function)
		}
		slices.Reverse(names)
		at := b
		add(at, p.stacks[i].bytes)
		for _, name := range names[:min(len(names), maxRows-1)] {
			next := at.calls[name]
			if next == nil {
				if *left--; *left < 0 {
					break
				}
				if next = (&box{name: name}); at.calls == nil {
					at.calls = map[string]*box{}
				}
				at.calls[name] = next
			}
			at = next
			add(at, p.stacks[i].bytes)
		}
	}
}

// drawing is where boxes are.
type drawing struct {
	differs bool
	total   float64
	boxes   []placed
	rows    int
	left    int // boxes that are too narrow, or too many to be drawn
}

// placed is a box in its place: from the left in bytes, and in rows from below.
type placed struct {
	*box
	from int64
	row  int
}

// draw places a box and all above it. It goes no deeper than maxRows.
func (d *drawing) draw(b *box, from int64, depth int) {
	if float64(b.after)/d.total*(width-2*margin) < narrowest || len(d.boxes) == maxBoxes {
		d.left++
		return
	}
	d.boxes = append(d.boxes, placed{b, from, depth})
	d.rows = max(d.rows, depth+1)
	above := make([]*box, 0, len(b.calls))
	for _, c := range b.calls {
		above = append(above, c)
	}
	slices.SortFunc(above, func(a, b *box) int { return cmp.Or(-cmp.Compare(a.after, b.after), cmp.Compare(a.name, b.name)) })
	for _, c := range above {
		d.draw(c, from, depth+1)
		from += c.after
	}
}

// legend says how to read it.
func (d *drawing) legend() string {
	text := "A box is as wide as what was allocated below it and is in use."
	if d.differs {
		text += " Red is what grew, grey what did not."
	}
	if d.left > 0 {
		text += fmt.Sprintf(" %d boxes are too small to be drawn.", d.left)
	}
	return text
}

func (p *placed) write(w io.Writer, height int, d *drawing) {
	x := margin + float64(p.from)/d.total*(width-2*margin)
	wide := float64(p.after) / d.total * (width - 2*margin)
	y := height - margin - (p.row+1)*row
	about := fmt.Sprintf("%s: %s in use (%.1f %%)", p.name, bytesize.Text(p.after), 100*float64(p.after)/d.total)
	if d.differs {
		about += ", " + change(p.after-p.before)
	}
	fmt.Fprintf(w, `<g><title>%s</title><rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="#fff" stroke-width="0.5"/>`, printable(about), x, y, wide, row-1, p.colour(d))
	if room := int(wide-4) / letter; room >= 3 {
		fmt.Fprintf(w, `<text x="%.1f" y="%d">%s</text>`, x+2, y+row-6, printable(short(p.name, room)))
	}
	io.WriteString(w, "</g>\n")
}

// colour is red by the share that is new, or a warm one where nothing is compared.
func (p *placed) colour(d *drawing) string {
	if !d.differs {
		return "#f0a860"
	}
	grown := max(float64(p.after-p.before), 0) / float64(max(p.after, 1))
	pale := int(215 - 145*grown)
	return fmt.Sprintf("#%02x%02x%02x", int(215+25*grown), pale, pale)
}

// short is the end of a name that has room: the function rather than its package.
func short(name string, room int) string {
	if utf8.RuneCountInString(name) <= room {
		return name
	}
	if slash := strings.LastIndexByte(name, '/'); slash >= 0 {
		name = name[slash+1:]
	}
	if all := []rune(name); len(all) > room {
		return string(all[:room-2]) + ".."
	}
	return name
}

// printable is text for XML, which has no control characters.
func printable(s string) string {
	return html.EscapeString(strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r == 0xfffe || r == 0xffff {
			return '?'
		}
		return r
	}, s))
}
