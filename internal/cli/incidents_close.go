package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/incident"
)

func newIncidentsClose(a *app, f *incidentFlags) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "close ID --reason TEXT",
		Short: "End an incident, and say why",
		Long: `End an incident: nothing more is to be done, for a reason that is written into its timeline with your
name. A kill after that is another incident. What is closed stays closed.

` + incidentsHelp,
		Example:           `  stella incidents close 5f0c1d2e3a4b --reason "the limit is 256Mi now; no kill for a week"`,
		Args:              oneIncident,
		ValidArgsFunction: completeIncidents(a, f),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`why`, for those who read it later; needed")
	f.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if strings.TrimSpace(reason) == "" {
			return usagef(cmd, "--reason is needed: why nothing more is to be done")
		}
		if len(reason) > incident.MaxText {
			return usagef(cmd, "--reason has %d bytes, of at most %d", len(reason), incident.MaxText)
		}
		return f.one(cmd.Context(), a, args[0], func(ctx context.Context, k keeper, d incident.Details) error {
			if d.State.Ended() {
				return fmt.Errorf("incident %s has ended already: %s", d.ID, stateText(&d.Incident, time.Now()))
			}
			if err := k.AppendEvents(ctx, []incident.Event{told(d.ID, incident.Ended, reason)}); err != nil {
				return err
			}
			a.note("incident %s (%s) is closed", d.ID, d.Subject.Name)
			return nil
		})
	}
	return cmd
}

func newIncidentsNote(a *app, f *incidentFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "note ID TEXT",
		Short: "Write something down about an incident",
		Long: `Write a note into the timeline of an incident, with your name. Post-mortems have it.

` + incidentsHelp,
		Example: `  stella incidents note 5f0c1d2e3a4b "the deploy of 14:00 doubled the cache"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || strings.TrimSpace(args[1]) == "" {
				return usagef(cmd, "%q needs the ID of an incident and a text, in quotes", cmd.CommandPath())
			}
			if len(args[1]) > incident.MaxText {
				return usagef(cmd, "the text has %d bytes, of at most %d", len(args[1]), incident.MaxText)
			}
			return nil
		},
		ValidArgsFunction: completeIncidents(a, f),
	}
	f.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.one(cmd.Context(), a, args[0], func(ctx context.Context, k keeper, d incident.Details) error {
			if err := k.AppendEvents(ctx, []incident.Event{told(d.ID, incident.Noted, args[1])}); err != nil {
				return err
			}
			a.note("noted in incident %s (%s)", d.ID, d.Subject.Name)
			return nil
		})
	}
	return cmd
}

// told is an event that a person tells now. Who it was, the service knows.
func told(id string, kind incident.Kind, text string) incident.Event {
	return incident.Event{Incident: id, ID: incident.NewID(id, string(kind), rand.Text()), Time: time.Now().UTC(), Kind: kind, Text: text}
}
