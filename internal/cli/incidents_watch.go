package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"stella/internal/incident"
)

// maxWatched bounds the incidents whose names are remembered while they are watched.
const maxWatched = 1024

// incidentsWatch is "stella incidents watch".
type incidentsWatch struct {
	app    *app
	from   *incidentFlags
	format string
}

func newIncidentsWatch(a *app, f *incidentFlags) *cobra.Command {
	c := &incidentsWatch{app: a, from: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show what happens to incidents as it happens, until Ctrl-C",
		Long: `Show what happens to incidents as it happens, each event in a line, until Ctrl-C: kills, their
explanation, remedies, notes and ends. -o json writes one object for each line, without the data
that "stella incidents show" has. When the connection breaks, the command comes back by itself.

` + incidentsHelp,
		Example: `  stella incidents watch
  stella incidents watch -o json | jq -r 'select(.kind == "explained") | .incident + " " + .cause'`,
		Args: noArgs,
		RunE: c.run,
	}
	formats := []string{"text", "json"}
	addFormat(cmd, &c.format, formats)
	f.add(cmd.Flags())
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return checkFormat(cmd, c.format, formats) }
	return cmd
}

func (c *incidentsWatch) run(cmd *cobra.Command, _ []string) error {
	ctx := cmd.Context()
	err := c.from.ask(ctx, c.app, func(ctx context.Context, k keeper) error {
		going, err := k.Incidents(ctx, incident.Filter{State: incident.Going})
		if err != nil {
			return err
		}
		names := newRecent(maxWatched)
		for i := range going {
			names.put(going[i].ID, going[i].Subject.Name)
		}
		c.app.note("%s have not ended; watching, Ctrl-C ends it", countOf(int64(len(going)), "incident"))
		return k.FollowIncidents(ctx, "", func(e incident.Event) error { return c.write(c.app.stdout, names, &e) })
	})
	return followed(ctx, err)
}

// write writes one event: without a buffer, so that it is seen at once.
func (c *incidentsWatch) write(w io.Writer, names *recent, e *incident.Event) error {
	if c.format == "json" {
		return json.NewEncoder(w).Encode(e) // in one write
	}
	if e.Subject != nil {
		names.put(e.Incident, e.Subject.Name)
	}
	_, err := io.WriteString(w, eventLine(names.texts[e.Incident], e)+"\n")
	return err
}

// eventLine is an event in one line, for a stream.
func eventLine(name string, e *incident.Event) string {
	line := fmt.Sprintf("%s %s %s", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Incident, causeWords(string(e.Kind)))
	if name != "" {
		line += " " + name
	}
	return oneLine(line + ": " + e.Text)
}
