package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"stella/internal/client"
	"stella/internal/oom"
)

// agentHelp ends the help of commands that ask an agent.
const agentHelp = `The agent is the one that --agent or STELLA_AGENT names, else the one of this machine,
by its Unix socket. It knows of the kills of its own node.`

func newOOM(a *app) *cobra.Command {
	f := new(agentFlags)
	return group(&cobra.Command{
		Use:   "oom",
		Short: "List and explain OOM kills, watch for them, and find them in logs",
		Long: `List and explain the OOM kills of a node, watch for them, and find them in logs.

A kill is one process that the kernel's OOM killer killed. Exit code 137 and the status
OOMKilled are no proof of one, and most kills of child processes show in neither: the
agent counts what the kernel says.`,
		Example: `  stella oom list --last 7d
  stella oom show 3f9a2c
  stella oom watch -o json
  stella oom analyze /var/log/messages*`,
	}, newOOMList(a, f), newOOMShow(a, f), newOOMWatch(a, f), newOOMAnalyze(a))
}

// nameFormats are those of a list whose things have names to go on with.
var nameFormats = append(slices.Clone(tableFormats), "name")

// writeNames writes the name of each thing on a line.
func writeNames[T any](all []T, name func(*T) string) func(io.Writer) error {
	return func(w io.Writer) error {
		for i := range all {
			if _, err := fmt.Fprintln(w, oneLine(name(&all[i]))); err != nil {
				return err
			}
		}
		return nil
	}
}

// addNoHeaders adds the flag of a command whose table is also for scripts.
func addNoHeaders(flags *pflag.FlagSet, bare *bool) {
	flags.BoolVar(bare, "no-headers", false, "leave out the names of the table's columns")
}

// agentFlags say which agent a command asks.
type agentFlags struct{ address string }

// add adds the flags to a command.
func (f *agentFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "agent", "", "`address` of the agent: unix:///PATH, https://HOST:PORT or http://HOST:PORT (default $STELLA_AGENT, else this machine's socket)")
}

// agentSockets are where an agent of this machine listens.
func agentSockets(getenv func(string) string) []string { return ownFirst(oom.Socket, getenv) }

// client makes a client of the agent that is meant. The caller closes it.
func (f *agentFlags) client(a *app) (*client.Agent, error) {
	address := f.address
	if address == "" {
		address = a.getenv("STELLA_AGENT")
	}
	if address == "" {
		sockets := agentSockets(a.getenv)
		e, ok := find(sockets)
		if !ok {
			return nil, &noAgentError{sockets}
		}
		address = e.address
	}
	return client.NewAgent(client.Options{Address: address, UserAgent: "stella/" + a.version})
}

// noAgentError says that no agent was named, and that none is on this machine. It matches [client.ErrNoServer].
type noAgentError struct{ sockets []string }

func (e *noAgentError) Error() string {
	return fmt.Sprintf("no agent is named by --agent or STELLA_AGENT, and there is no socket %s; start one as root with: stella-agent, or stella up",
		strings.Join(e.sockets, " or "))
}

// Is reports whether target is what it matches.
func (e *noAgentError) Is(target error) bool { return target == client.ErrNoServer }

// ask calls fn with a client of the agent that is meant.
func (f *agentFlags) ask(ctx context.Context, a *app, fn func(context.Context, *client.Agent) error) error {
	agent, err := f.client(a)
	if err != nil {
		return err
	}
	defer agent.Close()
	return fn(ctx, agent)
}

// witnessWarnings are what an agent cannot see at the moment, so that an empty list
// is not taken for good news.
func witnessWarnings(s *oom.AgentStatus) []string {
	var warnings []string
	for _, w := range s.Witnesses {
		if w.State == "failed" {
			warnings = append(warnings, fmt.Sprintf("the agent cannot read the %s: %s", witnessText(w.Name), w.Detail))
		}
	}
	if s.Ledger.Fault != "" {
		warnings = append(warnings, "the agent cannot keep kills on disk: "+s.Ledger.Fault)
	}
	if n := s.Ledger.LostRecords; n > 0 {
		warnings = append(warnings, countOf(int64(n), "record")+" of the kernel log were overwritten before they were read; counters tell of the kills in them")
	}
	return warnings
}
