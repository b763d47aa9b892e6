package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scan/image"
)

// imageLayers is "stella image layers".
type imageLayers struct {
	app    *app
	engine engineFlags
	image  string
	format string
	sortBy string
}

// layerOrder is a value of --sort-by.
type layerOrder struct {
	name    string
	deep    bool // needs the layers to be read
	compare func(a, b layerReport) int
}

var layerOrders = []layerOrder{
	{"index", false, func(_, _ layerReport) int { return 0 }},
	{"size", false, func(a, b layerReport) int { return cmp.Compare(b.Size, a.Size) }},
	{"file-count", true, func(a, b layerReport) int { return cmp.Compare(*b.Files, *a.Files) }},
	{"packages", true, func(a, b layerReport) int { return cmp.Compare(*b.Packages, *a.Packages) }},
}

func newImageLayers(a *app) *cobra.Command {
	c := &imageLayers{app: a, format: "table", sortBy: "index"}
	cmd := &cobra.Command{
		Use:   "layers REF",
		Short: "List an image's layers, by size, number of files or packages",
		Long: `List the layers of an image, the base first, or the largest first with --sort-by.
The orders file-count and packages read the layers, as a scan does.

` + refHelp,
		Example: `  stella image layers debian:12
  stella image layers app:1.4 --sort-by size
  stella image layers app:1.4 --sort-by file-count -o json | jq '.[0].files'`,
		Args:              a.oneRef(&c.image),
		ValidArgsFunction: completeRef,
		RunE:              c.run,
	}
	cmd.Flags().StringVar(&c.image, "image", "", "the image, instead of the argument `REF`")
	addFormat(cmd, &c.format, imageFormats)
	cmd.Flags().StringVar(&c.sortBy, "sort-by", c.sortBy, "`order`, largest first: "+listText(orderNames()))
	complete(cmd, "sort-by", orderNames()...)
	c.engine.addOpen(cmd)
	c.engine.addScan(cmd)
	return cmd
}

func orderNames() []string {
	var all []string
	for _, o := range layerOrders {
		all = append(all, o.name)
	}
	return all
}

func (c *imageLayers) run(cmd *cobra.Command, _ []string) error {
	if err := errors.Join(c.engine.check(cmd), checkFormat(cmd, c.format, imageFormats)); err != nil {
		return err
	}
	i := slices.Index(orderNames(), c.sortBy)
	if i < 0 {
		return usagef(cmd, "cannot sort by %q: choose %s%s", c.sortBy, listText(orderNames()), didYouMean(c.sortBy, orderNames()))
	}
	return c.engine.withImage(cmd.Context(), c.app, c.image, func(ctx context.Context, s *session) error {
		return c.show(ctx, s, layerOrders[i])
	})
}

func (c *imageLayers) show(ctx context.Context, s *session, order layerOrder) error {
	rows := layerReports(s.image)
	var incomplete error
	if order.deep {
		found, err := s.countLayers(ctx)
		if err != nil {
			return err
		}
		for i, l := range found.layers {
			rows[i].counts = l
		}
		incomplete = found.partial
	}
	slices.SortStableFunc(rows, order.compare)
	s.shown.stop()
	write := func(w io.Writer) error { return writeLayerTable(w, rows, c.app.resultWidth()) }
	if c.format == "json" {
		write = func(w io.Writer) error { return writeJSON(w, rows) }
	}
	return cmp.Or(c.app.result(write), incomplete)
}

// layerReport is one layer in the JSON of the commands about an image.
type layerReport struct {
	Index     int    `json:"index"`
	Digest    string `json:"digest,omitempty"`
	DiffID    string `json:"diffId,omitempty"`
	MediaType string `json:"mediaType,omitempty"`
	Size      int64  `json:"size"` // stored bytes, -1 where nothing says
	CreatedBy string `json:"createdBy,omitempty"`
	counts
}

// counts is what only reading a layer tells.
type counts struct {
	Uncompressed *int64 `json:"uncompressedSize,omitempty"`
	Entries      *int64 `json:"entries,omitempty"`
	Files        *int64 `json:"files,omitempty"`
	Packages     *int64 `json:"packages,omitempty"`
}

func layerReports(m *image.Image) []layerReport {
	steps := createdBy(m.RawConfig, len(m.Layers))
	rows := make([]layerReport, len(m.Layers))
	for i, l := range m.Layers {
		rows[i] = layerReport{Index: i, Digest: l.Digest, DiffID: l.DiffID, MediaType: l.MediaType, Size: l.Size}
		if steps != nil {
			rows[i].CreatedBy = steps[i]
		}
	}
	return rows
}

// shortDigest is enough of a digest for people to tell layers apart.
const shortDigest = len("sha256:") + 12

// writeLayerTable writes layers for people. The build step gets what is left
// of the width, where 0 is no limit.
func writeLayerTable(w io.Writer, rows []layerReport, width int) error {
	deep := len(rows) > 0 && rows[0].Files != nil
	tw := newTable(w)
	head, used := "INDEX\tDIGEST\tSIZE", 5+2+shortDigest+2+9+2
	if deep {
		head, used = head+"\tFILES\tPACKAGES", used+9+2+8+2
	}
	room := width - used
	if width == 0 {
		room = math.MaxInt
	}
	steps := room >= len("CREATED BY") && slices.ContainsFunc(rows, func(r layerReport) bool { return r.CreatedBy != "" })
	if steps {
		head += "\tCREATED BY"
	}
	fmt.Fprintln(tw, head)
	for _, r := range rows {
		digest := cmp.Or(r.Digest, r.DiffID, "-")
		fmt.Fprintf(tw, "%d\t%s\t%s", r.Index, digest[:min(len(digest), shortDigest)], sizeText(r.Size))
		if deep {
			fmt.Fprintf(tw, "\t%s\t%s", countText(*r.Files), countText(*r.Packages))
		}
		if steps {
			fmt.Fprintf(tw, "\t%s", cut(stepText(r.CreatedBy), room))
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

func sizeText(n int64) string {
	if n < 0 {
		return "-"
	}
	return bytesize.Text(n)
}

// stepText is a build step without the shell that every one of them begins with.
func stepText(s string) string {
	for _, shell := range []string{"/bin/sh -c #(nop) ", "/bin/sh -c ", "|1 "} {
		s = strings.TrimPrefix(s, shell)
	}
	return strings.Join(strings.Fields(printable(strings.ReplaceAll(s, "\t", " "))), " ")
}
