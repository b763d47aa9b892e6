package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"stella/internal/incident"
	"stella/internal/incident/postmortem"
)

func newIncidentsPostmortem(a *app, f *incidentFlags) *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use:   "postmortem ID",
		Short: "Write up an incident: Markdown, with a picture of the memory",
		Long: `Write up an incident as Markdown: summary, chain of causes with the evidence, why it was hard to
spot, what was done, and the timeline. Everything leads to the event that it is from. What only
people know, such as how severe it was and what was learned, is left for them and marked.

With -o FILE.md the picture of memory against the limit, with the kills, is beside it as FILE.svg;
on standard output it is in the text.

` + incidentsHelp,
		Example: `  stella incidents postmortem 5f0c1d2e3a4b -o gate.md
  stella incidents postmortem 5f0c1d2e3a4b | less`,
		Args:              oneIncident,
		ValidArgsFunction: completeIncidents(a, f),
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write it to `FILE`, and the picture beside it (default standard output)")
	f.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		picture := strings.TrimSuffix(file, filepath.Ext(file)) + ".svg"
		if file != "" && picture == file {
			return usagef(cmd, "-o %s: that is what the picture would be called; name the text, such as %s.md", file, strings.TrimSuffix(file, ".svg"))
		}
		return f.one(cmd.Context(), a, args[0], func(_ context.Context, _ keeper, d incident.Details) error {
			p := postmortem.Of(d)
			if file != "" {
				if err := writeFile(picture, p.SVG); err != nil {
					return err
				}
				if err := writeFile(file, func(w io.Writer) error { return p.Markdown(w, pictureLink(picture)) }); err != nil {
					return err
				}
				a.note("written: %s and %s", file, picture)
				return nil
			}
			var svg bytes.Buffer
			if err := p.SVG(&svg); err != nil {
				return err
			}
			data := "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg.Bytes())
			return a.result(func(w io.Writer) error { return p.Markdown(w, data) })
		})
	}
	return cmd
}

// pictureLink is the picture as Markdown leads to it from a file beside it.
func pictureLink(file string) string {
	return "<" + strings.NewReplacer("<", "%3C", ">", "%3E", "\\", "%5C", "\n", "%0A").Replace(filepath.Base(file)) + ">"
}
