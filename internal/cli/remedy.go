package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	daemons "stella/internal/daemon"
	"stella/internal/incident"
	"stella/internal/kube"
	"stella/internal/remedy"
)

// remedyHelp ends the help of commands about remedies.
const remedyHelp = `Kubernetes is found as kubectl finds it, and asked with your own rights: Stella's daemons have none
to change workloads. The kernel's side is read by the agent of the node (--agent, STELLA_AGENT, else this
machine's socket). It keeps the incidents of its node; others are those of a stellad (--server).`

// maxPlanFile bounds a file with a plan: one fits into the data of an event, and is indented here.
const maxPlanFile = 1 << 20

func newRemedy(a *app) *cobra.Command {
	f := &remedyFlags{app: a}
	cmd := group(&cobra.Command{
		Use:   "remedy",
		Short: "Plan what to do when memory ran out, do it, and see whether it held",
		Long: `Plan what to do when memory ran out, apply a step that a person approved, read it back from the API
and from both cgroups, see whether it held, and take it back if it did not.

Nothing is changed without an approval: "plan" only reads, "apply" and "rollback" let the server try the
change and keep nothing, until they are given --approve with a --reason. What is done is kept in an audit
log.

` + remedyHelp,
		Example: `  stella remedy plan shop/web-7d9c
  stella remedy plan shop/web-7d9c -o json > plan.json
  stella remedy apply plan.json --step 1
  stella remedy apply plan.json --step 1 --approve --reason "OOM storm, agreed with the shop team"
  stella remedy verify plan.json --watch
  stella remedy rollback plan.json --step 1 --approve --reason "it did not help"`,
	}, newRemedyPlan(a, f), newRemedyApply(a, f), newRemedyVerify(a, f), newRemedyRollback(a, f))
	f.add(cmd.PersistentFlags())
	return cmd
}

// remedyFlags say whom the commands ask, and where they write down what was done.
type remedyFlags struct {
	app     *app
	agent   agentFlags
	server  serverFlags
	cluster clusterFlags
	audit   string
	// auditOnly leaves out the incident's timeline.
	auditOnly bool
}

func (f *remedyFlags) add(flags *pflag.FlagSet) {
	f.agent.add(flags)
	f.server.add(flags)
	f.cluster.add(flags)
	flags.StringVar(&f.audit, "audit-log", "", "`file` that what is done is written to, and read back from (default $XDG_STATE_HOME/stella/remedies.jsonl, else below ~/.local/state; for root /var/lib/stella/remedies.jsonl)")
	flags.BoolVar(&f.auditOnly, "audit-only", false, "write what is done to the audit log alone, and not to the incident that the plan is for")
}

// connect makes a client of the Kubernetes that is meant. The caller closes it.
func (f *remedyFlags) connect() (*remedy.Cluster, func(), error) {
	config, err := f.cluster.config()
	if errors.Is(err, errNoCluster) {
		return nil, nil, fmt.Errorf("%w; name a kubeconfig with --kubeconfig or $KUBECONFIG", err)
	}
	if err != nil {
		return nil, nil, err
	}
	client := kube.New(config, "stella/"+f.app.version)
	return &remedy.Cluster{Client: client}, client.Close, nil
}

// withCluster calls fn with the Kubernetes that is meant.
func (f *remedyFlags) withCluster(fn func(*remedy.Cluster) error) error {
	cluster, done, err := f.connect()
	if err != nil {
		return err
	}
	defer done()
	return refused(fn(cluster))
}

// refused gives what Kubernetes does not allow its exit code.
func refused(err error) error {
	var status *kube.StatusError
	if errors.As(err, &status) && (status.Code == http.StatusForbidden || status.Code == http.StatusUnauthorized) {
		return &exitError{ExitAuth, fmt.Errorf("%w; docs/remedies.md has the rights that this needs", err)}
	}
	return err
}

// journal is the audit log.
func (f *remedyFlags) journal() (*remedy.Journal, error) {
	path := f.audit
	if path == "" {
		path = daemons.StateDir(f.app.getenv, "stella", "remedies.jsonl")
	}
	if path == "" {
		return nil, errors.New("there is no place for the audit log, because neither XDG_STATE_HOME nor HOME is set: name one with --audit-log")
	}
	return &remedy.Journal{Path: path}, nil
}

// readPlan reads a plan that was kept in a file.
func readPlan(name string) (*remedy.Plan, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPlanFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the plan: %w", err)
	case len(text) > maxPlanFile:
		return nil, fmt.Errorf("%s has more than %d bytes: it is no plan", name, maxPlanFile)
	}
	p := new(remedy.Plan)
	if err := json.Unmarshal(text, p); err != nil {
		return nil, fmt.Errorf("%s is no plan of stella remedy plan -o json: %w", name, err)
	}
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// planID is the ID of a plan that is named by it, or by its file.
func planID(name string) (string, error) {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return name, nil
	}
	p, err := readPlan(name)
	if err != nil {
		return "", err
	}
	return p.ID, nil
}

// approvalFlags are those of commands that change something.
type approvalFlags struct {
	approve bool
	by      string
	reason  string
	dryRun  string
	force   bool
}

func (f *approvalFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.approve, "approve", false, "approve the change, so that it is made; needs --reason")
	flags.StringVar(&f.reason, "reason", "", "`why`, for those who read the audit log and the incident")
	flags.StringVar(&f.by, "by", "", "`who` approves it (default whom Kubernetes takes you for, and the user of this machine)")
	flags.StringVar(&f.dryRun, "dry-run", "", "`server` has it tried and nothing kept, which is what happens without --approve, too")
	flags.Lookup("dry-run").NoOptDefVal = "server"
	flags.BoolVar(&f.force, "force-conflicts", false, "make the change also where another tool declares the same field, and will take it back")
}

func (f *approvalFlags) check(cmd *cobra.Command) error {
	switch {
	case f.dryRun != "" && f.dryRun != "server":
		return usagef(cmd, "--dry-run=%s: only the server can try it; write --dry-run=server", quoteIfOdd(f.dryRun))
	case f.approve && f.reason == "":
		return usagef(cmd, "--approve needs --reason: others will ask why it was changed")
	case !f.approve && f.reason != "":
		return usagef(cmd, "--reason is of an approval: add --approve to have the change made")
	}
	return nil
}

// tries reports whether nothing is to be kept.
func (f *approvalFlags) tries() bool { return !f.approve || f.dryRun != "" }

// approval is that for a step.
func (f *approvalFlags) approval(ctx context.Context, c *remedy.Cluster, plan string, step int) remedy.Approval {
	by := f.by
	if by == "" {
		by = localUser()
		if who, err := c.Who(ctx); err == nil { // an old server cannot say; the user of this machine is known
			by = who + " (" + by + ")"
		}
	}
	return remedy.Approval{By: by, Reason: f.reason, Plan: plan, Step: step}
}

// localUser is who runs this, by the system and not by what the environment says.
func localUser() string {
	if u, err := user.Current(); err == nil {
		return fmt.Sprintf("uid %s %s", u.Uid, u.Username)
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// work calls fn with what makes the changes of one plan and tells of them: the audit log, and the incident that the plan is for.
func (f *remedyFlags) work(ctx context.Context, c *remedy.Cluster, p *remedy.Plan, actor string, fn func(context.Context, *remedy.Work) error) error {
	journal, err := f.journal()
	if err != nil {
		return err
	}
	w := &remedy.Work{Cluster: c, Record: journal, Plan: p, Actor: actor, Now: time.Now}
	if p.Incident == "" || f.auditOnly {
		return fn(ctx, w)
	}
	found := false
	err = f.incident(ctx, p.Incident, func(ctx context.Context, k keeper, _ incident.Details) error {
		found = true
		missed := func(err error) {
			f.app.warn(fmt.Sprintf("incident %s was not told; the audit log has it: %v", p.Incident, err))
		}
		w.Record = remedy.Records{Log: journal, Timeline: kept{k}, Missed: missed}
		return fn(ctx, w)
	})
	if err != nil && !found {
		return fmt.Errorf("nothing was done, as the plan is for an incident that cannot be told: %w; --audit-only leaves it out", err)
	}
	return err
}

// incident calls fn with an incident and who keeps it: the agent that is asked anyway, which passes on what it is told, or else a stellad.
func (f *remedyFlags) incident(ctx context.Context, id string, fn func(context.Context, keeper, incident.Details) error) error {
	if f.server.address == "" {
		if agent, err := f.agent.client(f.app); err == nil {
			defer agent.Close()
			if d, err := agent.Incident(ctx, id); err == nil {
				return fn(ctx, agent, d)
			}
		}
	}
	from := incidentFlags{server: f.server} // --agent says who reads back
	return from.one(ctx, f.app, id, fn)
}

// kept is a timeline, as the record of what is done.
type kept struct{ keeper }

// Append implements [remedy.Record].
func (k kept) Append(ctx context.Context, events []incident.Event) error {
	if err := k.AppendEvents(ctx, events); err != nil {
		return fmt.Errorf("tell the incident: %w; --audit-only leaves it out", err)
	}
	return nil
}
