// Command picture draws terminal output as an SVG, for the README: text in,
// picture out, nothing else.
//
// Usage: stella … 2>&1 | picture -title "$ stella …" > docs/scan.svg
package main

import (
	"bufio"
	"flag"
	"fmt"
	"html"
	"io"
	"os"
	"unicode/utf8"
)

const (
	// The advance of one character and the height of one line, in pixels, at a font size of 14.
	cellWidth, cellHeight = 8.4, 19
	margin                = 16
	// maxLines bounds the picture; the rest of the output is counted.
	maxLines = 60
)

func main() {
	title := flag.String("title", "", "the command, shown as the first line")
	flag.Parse()
	if err := draw(os.Stdout, os.Stdin, *title); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// draw writes the picture of what r holds.
func draw(w io.Writer, r io.Reader, title string) error {
	lines, more, err := read(r)
	if err != nil {
		return err
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("… %d more lines", more))
	}
	if title != "" {
		lines = append([]string{title}, lines...)
	}
	columns := 0
	for _, l := range lines {
		columns = max(columns, utf8.RuneCountInString(l))
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%d" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14">`+"\n",
		float64(columns)*cellWidth+2*margin, len(lines)*cellHeight+2*margin)
	fmt.Fprintln(b, `<rect width="100%" height="100%" rx="8" fill="#16191d"/>`)
	for i, l := range lines {
		if l == "" {
			continue
		}
		fill := "#d6dbe0"
		if i == 0 && title != "" {
			fill = "#7fd18c"
		}
		// textLength keeps columns straight whatever font there is.
		fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s" xml:space="preserve" textLength="%.1f" lengthAdjust="spacingAndGlyphs">%s</text>`+"\n",
			margin, margin+14+i*cellHeight, fill, float64(utf8.RuneCountInString(l))*cellWidth, html.EscapeString(l))
	}
	fmt.Fprintln(b, "</svg>")
	return b.Flush()
}

// read splits r into lines, of which it keeps the first maxLines.
func read(r io.Reader) (lines []string, more int, err error) {
	s := bufio.NewScanner(r)
	for s.Scan() {
		if len(lines) == maxLines {
			more++
			continue
		}
		lines = append(lines, s.Text())
	}
	return lines, more, s.Err()
}
