package sbom

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"stella/internal/scan/inventory"
)

// Table says how to print a table.
type Table struct {
	// Width is the width of the terminal in columns: rows are cut to it where they
	// can be. 0 is no terminal: nothing is cut.
	Width int
	// Color allows escape sequences for colour and weight.
	Color bool
}

// The columns of the table.
const (
	colName = iota
	colVersion
	colType
	colLocation
	colLayer
	columns
)

var headings = row{cells: [columns]string{"NAME", "VERSION", "TYPE", "LOCATION", "LAYER"}}

// gap is the space between columns, as kubectl has it.
const gap = 3

// widest is the most a column is widened by its cells when nothing is to be cut.
// Without it one name of 4 KiB would put 4 KiB of spaces into each of a million rows;
// with it, that one row alone is out of line.
var widest = [columns]int{colName: 60, colVersion: 40, colType: 12, colLocation: 100, colLayer: 12}

// row is one line. The number of further locations is apart from the first one, so that
// it stays when a path is cut.
type row struct {
	cells [columns]string
	more  string
}

// width is how many columns of the terminal a cell takes.
func (r *row) width(column int) int {
	if column == colLocation {
		return width(r.cells[column]) + len(r.more)
	}
	return width(r.cells[column])
}

// table prints rows for people. The standard library's tabwriter would keep all
// rows to find the widths, so the inventory is read twice instead: once to measure,
// once to print. That is exact and the same for every run; widths guessed from the first rows
// would be wrong, because components are ordered by type.
type table struct {
	*stream
	d      *Document
	widths [columns]int
}

func writeTable(ctx context.Context, out *stream, d *Document) error {
	return (&table{stream: out, d: d}).write(ctx)
}

func (x *table) write(ctx context.Context) error {
	total := 0
	x.measure(headings)
	if err := x.rows(ctx, func(r row) { total++; x.measure(r) }); err != nil {
		return err
	}
	if total == 0 {
		x.raw("No packages found in " + printable(x.d.Subject.title()) + ".\n")
		x.problems()
		return nil
	}
	if x.d.Table.Width > 0 {
		x.fit()
	}
	x.bold(func() { x.print(headings) })
	x.raw("\n")
	if err := x.rows(ctx, func(r row) { x.print(r); x.raw("\n") }); err != nil {
		return err
	}
	x.summary(total)
	x.problems()
	return nil
}

// rows calls f for each component.
func (x *table) rows(ctx context.Context, f func(row)) error {
	return x.d.components(ctx, x.stream, func(c *inventory.Component) error {
		var r row
		r.cells = [columns]string{colName: printable(fullName(&c.Package)), colVersion: printable(c.Version), colType: printable(string(c.Type))}
		err := locations(c, x.stream, func(_ int, l inventory.Location) bool {
			r.cells[colLocation] = "/" + printable(l.Path)
			if more := c.LocationCount - 1; more > 0 {
				r.more = " (+" + strconv.Itoa(more) + " more)"
			}
			r.cells[colLayer] = short(x.d.Subject.layer(l.Layer))
			return false
		})
		f(r)
		return err
	})
}

// short is a digest as people compare it: its first twelve digits.
func short(digest string) string {
	_, hex, found := strings.Cut(digest, ":")
	if !found {
		hex = digest
	}
	return printable(hex[:min(len(hex), 12)])
}

func (x *table) measure(r row) {
	for i := range columns { // an empty cell is printed as "-", which is never wider than its heading
		x.widths[i] = max(x.widths[i], min(r.width(i), widest[i]))
	}
}

// fit makes the columns narrower until a row fits the terminal: always the
// widest of those that can be cut, down to the width of its heading.
func (x *table) fit() {
	total := gap * (columns - 1)
	for _, w := range x.widths {
		total += w
	}
	for ; total > x.d.Table.Width; total-- {
		widest := colName
		for _, i := range []int{colVersion, colLocation} {
			if x.widths[i] > x.widths[widest] {
				widest = i
			}
		}
		if x.widths[widest] <= len(headings.cells[colLocation]) {
			return
		}
		x.widths[widest]--
	}
}

func (x *table) print(r row) {
	pad := 0
	for i := range columns {
		if r.cells[i] == "" {
			r.cells[i] = "-"
		}
		if over := r.width(i) - x.widths[i]; over > 0 && x.d.Table.Width > 0 {
			r.cells[i] = cut(r.cells[i], width(r.cells[i])-over, i == colLocation)
		}
		x.spaces(pad)
		x.raw(r.cells[i])
		if i == colLocation {
			x.raw(r.more)
		}
		pad = max(x.widths[i]-r.width(i), 0) + gap
	}
}

func (x *table) spaces(n int) {
	const blank = "                                "
	for ; n > len(blank); n -= len(blank) {
		x.raw(blank)
	}
	x.raw(blank[:n])
}

// summary counts the components by type, the most frequent first.
func (x *table) summary(total int) {
	count := x.d.Inventory.Count()
	types := sortedTypes(count)
	slices.SortStableFunc(types, func(a, b inventory.Type) int { return cmp.Compare(count[b], count[a]) })
	parts := make([]string, 0, len(types))
	for _, t := range types {
		parts = append(parts, strconv.Itoa(count[t])+" "+printable(string(t)))
	}
	noun := " packages: "
	if total == 1 {
		noun = " package: "
	}
	x.raw("\n" + strconv.Itoa(total) + noun + strings.Join(parts, ", ") + "\n")
}

func (x *table) problems() {
	problems := x.d.Inventory.Problems()
	if len(problems) == 0 {
		return
	}
	x.raw("\n")
	x.bold(func() { x.raw("This list is " + incomplete(problems)) })
	x.raw("\n")
	for _, p := range problems {
		x.raw("  " + printable(describe(p, short(x.d.Subject.layer(p.Layer)))) + "\n")
	}
}

// bold prints what f prints in bold, where escape sequences are allowed.
func (x *table) bold(f func()) {
	if !x.d.Table.Color {
		f()
		return
	}
	x.raw("\x1b[1m")
	f()
	x.raw("\x1b[0m")
}
