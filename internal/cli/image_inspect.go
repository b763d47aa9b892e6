package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scan/image"
)

// imageInspect is "stella image inspect".
type imageInspect struct {
	app    *app
	engine engineFlags
	image  string
	format string
	deep   bool
}

func newImageInspect(a *app) *cobra.Command {
	c := &imageInspect{app: a, format: "text"}
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "Show an image's size, digests, layers and configuration",
		Long: `Show what the manifest and the configuration of an image say, without reading
its layers. --deep reads them, to count files.

` + refHelp + `

Sizes are of the layers as they are stored, which is compressed as a rule.`,
		Example: `  stella image inspect debian:12
  stella image inspect debian:12 --format json | jq .size
  stella image inspect oci-archive:app.tar --deep --format json | jq .manifest.fileCount`,
		Args:              a.oneRef(&c.image),
		ValidArgsFunction: completeRef,
		RunE:              c.run,
	}
	cmd.Flags().StringVar(&c.image, "image", "", "the image, instead of the argument `REF`")
	addFormat(cmd, &c.format, imageFormats)
	cmd.Flags().BoolVar(&c.deep, "deep", false, "read the layers and count files")
	c.engine.addOpen(cmd)
	c.engine.addScan(cmd)
	return cmd
}

// imageReport is the JSON of "stella image inspect".
type imageReport struct {
	Reference string           `json:"reference"`
	Name      string           `json:"name"`
	ID        string           `json:"id,omitempty"`
	Size      *int64           `json:"size"` // stored bytes of all layers, null where none says
	Platform  string           `json:"platform,omitempty"`
	Created   *time.Time       `json:"created,omitempty"`
	Manifest  manifestReport   `json:"manifest"`
	Config    *containerConfig `json:"config,omitempty"`
	Layers    []layerReport    `json:"layers"`
}

type manifestReport struct {
	Digest      string `json:"digest,omitempty"`
	IndexDigest string `json:"indexDigest,omitempty"`
	MediaType   string `json:"mediaType,omitempty"`
	LayerCount  int    `json:"layerCount"`
	// FileCount is how many regular files the layers hold, with those that a
	// later layer hides. It is there with --deep only.
	FileCount *int64 `json:"fileCount,omitempty"`
}

func (c *imageInspect) run(cmd *cobra.Command, _ []string) error {
	if err := errors.Join(c.engine.check(cmd), checkFormat(cmd, c.format, imageFormats)); err != nil {
		return err
	}
	return c.engine.withImage(cmd.Context(), c.app, c.image, c.show)
}

func (c *imageInspect) show(ctx context.Context, s *session) error {
	report := newImageReport(s.image)
	var incomplete error
	if c.deep {
		found, err := s.countLayers(ctx)
		if err != nil {
			return err
		}
		var files int64
		for i, l := range found.layers {
			report.Layers[i].counts = l
			files += *l.Files
		}
		report.Manifest.FileCount = &files
		incomplete = found.partial
	}
	s.shown.stop()
	write := func(w io.Writer) error { return report.writeText(w, c.app.resultWidth()) }
	if c.format == "json" {
		write = func(w io.Writer) error { return writeJSON(w, report) }
	}
	return cmp.Or(c.app.result(write), incomplete)
}

func newImageReport(m *image.Image) *imageReport {
	r := &imageReport{
		Reference: m.Reference,
		Name:      m.Name,
		ID:        m.ID,
		Platform:  platformText(&m.Config),
		Manifest: manifestReport{
			Digest:      m.Digest,
			IndexDigest: m.IndexDigest,
			MediaType:   m.MediaType,
			LayerCount:  len(m.Layers),
		},
		Config: parseContainerConfig(m.RawConfig),
		Layers: layerReports(m),
	}
	if !m.Config.Created.IsZero() {
		r.Created = &m.Config.Created
	}
	for _, l := range r.Layers {
		if l.Size < 0 {
			continue
		}
		if r.Size == nil {
			r.Size = new(int64)
		}
		*r.Size += l.Size
	}
	return r
}

func platformText(c *image.Config) string {
	parts := slices.DeleteFunc([]string{c.OS, c.Architecture, c.Variant}, func(s string) bool { return s == "" })
	return strings.Join(parts, "/")
}

// writeText writes the report for people.
func (r *imageReport) writeText(w io.Writer, width int) error {
	tw := newTable(w)
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", key, printable(value))
		}
	}
	line("Name", r.Name)
	line("Digest", r.Manifest.Digest)
	line("Index", r.Manifest.IndexDigest)
	line("Image ID", r.ID)
	line("Media type", r.Manifest.MediaType)
	line("Platform", r.Platform)
	if r.Created != nil {
		line("Created", r.Created.UTC().Format(time.RFC3339))
	}
	if r.Size != nil {
		line("Size", fmt.Sprintf("%s (%d bytes)", bytesize.Text(*r.Size), *r.Size))
	}
	line("Layers", countText(int64(r.Manifest.LayerCount)))
	if r.Manifest.FileCount != nil {
		line("Files", countText(*r.Manifest.FileCount))
	}
	if c := r.Config; c != nil {
		line("User", c.User)
		line("Working directory", c.WorkingDir)
		line("Entrypoint", quoted(c.Entrypoint))
		line("Command", quoted(c.Cmd))
		line("Ports", strings.Join(slices.Sorted(maps.Keys(c.ExposedPorts)), " "))
		for _, e := range c.Env {
			line("Environment", e)
		}
		for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
			line("Label", k+"="+c.Labels[k])
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(r.Layers) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return writeLayerTable(w, r.Layers, width)
}

func quoted(words []string) string {
	var all []string
	for _, w := range words {
		all = append(all, quoteIfOdd(w))
	}
	return strings.Join(all, " ")
}
