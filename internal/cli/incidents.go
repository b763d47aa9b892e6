package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"stella/internal/client"
	"stella/internal/incident"
	"stella/internal/scanner"
)

// incidentsHelp ends the help of commands about incidents.
const incidentsHelp = `Incidents are those of the stellad that --server or STELLA_SERVER names, or of the one of this
machine; without one, those of this machine's agent, or of the one that --agent names.`

func newIncidents(a *app) *cobra.Command {
	f := new(incidentFlags)
	return group(&cobra.Command{
		Use:   "incidents",
		Short: "See, close and write up what ran out of memory",
		Long: `See what ran out of memory, what was done about it and whether it helped; close it, and write it up.

An incident is about one workload and one limit. Kills that belong together, their explanation,
remedies and notes are its timeline. It ends when a remedy held, or when somebody closes it; a kill
after that is another incident. docs/agent.md says how they are made.

` + incidentsHelp,
		Example: `  stella incidents list --state going
  stella incidents show 5f0c1d2e3a4b
  stella incidents close 5f0c1d2e3a4b --reason "the limit is 256Mi now"
  stella incidents postmortem 5f0c1d2e3a4b -o gate.md`,
	}, newIncidentsList(a, f), newIncidentsShow(a, f), newIncidentsWatch(a, f), newIncidentsNote(a, f), newIncidentsClose(a, f), newIncidentsPostmortem(a, f))
}

// keeper is who keeps incidents: a stellad, or an agent.
type keeper interface {
	Incidents(context.Context, incident.Filter) ([]incident.Incident, error)
	Incident(ctx context.Context, id string) (incident.Details, error)
	AppendEvents(context.Context, []incident.Event) error
	FollowIncidents(ctx context.Context, after string, fn func(incident.Event) error) error
	Close()
}

// incidentFlags say who is asked for incidents.
type incidentFlags struct {
	server serverFlags
	agent  agentFlags
}

func (f *incidentFlags) add(flags *pflag.FlagSet) {
	f.server.add(flags)
	f.agent.add(flags)
}

// ask calls fn with who keeps the incidents that are meant.
func (f *incidentFlags) ask(ctx context.Context, a *app, fn func(context.Context, keeper) error) error {
	if f.server.address != "" && f.agent.address != "" {
		return errors.New("--server and --agent exclude each other: one of them has the incidents")
	}
	if f.agent.address == "" {
		// A socket that nobody listens on is of a stellad that was here once.
		if e, ok := f.server.endpoint(a.getenv); ok && (e.asked || knock(ctx, e) == nil) {
			service, err := f.server.dial(a, e)
			if err != nil {
				return err
			}
			defer service.Close()
			return fn(ctx, service)
		}
	}
	agent, err := f.agent.client(a)
	if none := new(noAgentError); errors.As(err, &none) && f.agent.address == "" {
		return fmt.Errorf("neither a stellad nor an agent is named, and there is no socket %s; start both with: stella up",
			strings.Join(append(sockets(a.getenv), none.sockets...), " or "))
	}
	if err != nil {
		return err
	}
	defer agent.Close()
	return fn(ctx, agent)
}

// one calls fn with one incident, and who keeps it. Where a stellad that was only found does not have it, the agent of this machine may.
func (f *incidentFlags) one(ctx context.Context, a *app, id string, fn func(context.Context, keeper, incident.Details) error) error {
	if !incident.ValidID(id) {
		return noIncidentError(id)
	}
	var missing error
	err := f.ask(ctx, a, func(ctx context.Context, k keeper) error {
		d, err := k.Incident(ctx, id)
		if errors.Is(err, scanner.ErrNotFound) {
			missing = noIncidentError(id)
			return nil
		}
		if err != nil {
			return err
		}
		return fn(ctx, k, d)
	})
	e, found := f.server.endpoint(a.getenv)
	if err != nil || missing == nil || f.agent.address != "" || !found || e.asked {
		return errors.Join(err, missing)
	}
	// The agent was not asked, or has it no more than the stellad.
	_ = f.agent.ask(ctx, a, func(ctx context.Context, agent *client.Agent) error {
		d, failed := agent.Incident(ctx, id)
		if failed == nil {
			missing, err = nil, fn(ctx, agent, d)
		}
		return nil
	})
	return errors.Join(err, missing)
}

func noIncidentError(id string) error {
	return fmt.Errorf("there is no incident %s; see: stella incidents list", quoteIfOdd(id))
}

// completeIncidents offers the IDs of incidents for the first argument.
func completeIncidents(a *app, f *incidentFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var ids []string
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		// Without an answer there is nothing to offer.
		_ = f.ask(ctx, a, func(ctx context.Context, k keeper) error {
			all, err := k.Incidents(ctx, incident.Filter{Limit: maxOffered})
			for i := range all {
				ids = append(ids, cobra.CompletionWithDesc(all[i].ID, oneLine(all[i].Subject.Name+" "+string(all[i].State))))
			}
			return err
		})
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}

var oneIncident = oneArg("the ID of an incident; stella incidents list shows them")
