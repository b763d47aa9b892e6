package remedy

import (
	"cmp"
	"fmt"
	"time"

	"stella/internal/bytesize"
	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/oom"
)

// Input is what a plan is made from.
type Input struct {
	Report explain.Report
	Kills  []oom.Kill
	// Incident is the ID of the incident that the plan is for; empty is none.
	Incident string
	// Cgroup is the container's, empty where it is not known.
	Cgroup string
	// Workload is nil for what is not in Kubernetes, or cannot be read there.
	Workload *Workload
	// Culprit is who took the node's memory, for a node that was full; nil is not known. CulpritUse is what it uses.
	Culprit    *Workload
	CulpritUse explain.Neighbour
	// Limit is what a person wants in bytes, in place of what is recommended; 0 is nothing.
	Limit int64
	Now   time.Time
}

// table has for each cause what can be done, in the order in which to do it. What has nothing to work on adds no step.
var table = map[explain.Cause][]func(*planner){
	explain.LimitTooLow: {(*planner).resize, (*planner).limit, (*planner).goLimit},
	explain.StartUp:     {(*planner).resize, (*planner).limit, (*planner).startLess},
	explain.Spike:       {(*planner).resize, (*planner).limit, (*planner).goLimit, (*planner).whatHappened},
	explain.LargeInput:  {(*planner).resize, (*planner).limit, (*planner).fewer, (*planner).smallerInput},
	explain.Children:    {(*planner).resize, (*planner).limit, (*planner).fewer, (*planner).fewerChildren},
	explain.Leak:        {(*planner).stopgap, (*planner).restart, (*planner).shorterCache, (*planner).findLeak},
	explain.Gauged:      {(*planner).boundGauge, (*planner).sized, (*planner).restart, (*planner).shorterCache, (*planner).autoscale},
	explain.Tmpfs:       {(*planner).volumeSize, (*planner).cleanUp},
	explain.PageCache:   {(*planner).smallerWrites},
	explain.KernelUse:   {(*planner).fewer, (*planner).countObjects},
	explain.Sockets:     {(*planner).fewer, (*planner).boundConnections},
	explain.AboveLimit:  {(*planner).lookAbove},
	explain.NodeFull:    {(*planner).culprit},
	explain.NoOOM:       {(*planner).whoKilled},
	explain.Healthy:     {(*planner).asked},
	explain.CannotTell:  {(*planner).asked},
}

// planner makes one plan.
type planner struct {
	Input
	plan    Plan
	finding explain.Finding
}

// New plans what to do about the likeliest cause.
func New(in Input) Plan {
	p := &planner{Input: in}
	if len(in.Report.Findings) > 0 {
		p.finding = in.Report.Findings[0]
	} else {
		p.finding = explain.Finding{Cause: explain.CannotTell, Summary: "Nothing is known."}
	}
	c := &in.Report.Container
	p.plan = Plan{
		Made: in.Now.UTC(), Incident: in.Incident, Subject: subject(c, in.Cgroup),
		Cause: p.finding.Cause, Confidence: p.finding.Confidence, Summary: p.finding.Summary, Limit: c.LimitBytes, Steps: []Step{},
	}
	if w := in.Workload; w != nil {
		if place, ok := w.Pod.container(w.Container); ok {
			p.plan.Limit = w.Pod.amount(under(place, "resources", "limits", "memory")...)
		}
	}
	for _, add := range table[p.finding.Cause] {
		add(p)
	}
	p.known()
	p.plan.seal()
	return p.plan
}

// subject is whom a plan is for.
func subject(c *oom.Container, cgroup string) incident.Subject {
	s := incident.Subject{
		Namespace: c.Namespace, Workload: c.Workload, Pod: c.Pod, Container: c.Name, Image: c.Image, Node: c.Node, Cgroup: cgroup,
	}
	s.Name = cmp.Or(c.Unit, c.Name, cgroup)
	if c.Namespace != "" {
		s.Name = c.Namespace + "/" + cmp.Or(c.Pod, c.Name)
	}
	return s
}

// add adds a step, as the next one.
func (p *planner) add(s Step) {
	s.N = len(p.plan.Steps) + 1
	if s.Why == "" {
		s.Why = p.why()
	}
	if s.Undo == "" {
		s.Undo = "It changes nothing by itself."
	}
	p.plan.Steps = append(p.plan.Steps, s)
}

func (p *planner) note(format string, args ...any) {
	p.plan.Notes = append(p.plan.Notes, fmt.Sprintf(format, args...))
}

// why links a step to the finding, with its strongest fact.
func (p *planner) why() string {
	text := fmt.Sprintf("%s (%.0f %%): %s", p.finding.Cause, 100*p.finding.Confidence, p.finding.Summary)
	if len(p.finding.For) > 0 {
		text += " " + p.finding.For[0].Text
	}
	return text
}

// wanted is the limit to set in bytes: what a person wants, or else what is recommended; 0 is none.
func (p *planner) wanted() int64 {
	if p.Limit == 0 && p.Report.Limit != nil {
		return p.Report.Limit.Bytes
	}
	return p.Limit
}

// whyLimit says why so much.
func (p *planner) whyLimit() string {
	if p.Limit != 0 || p.Report.Limit == nil {
		return p.why() + " The amount is the one that was asked for."
	}
	return p.why() + " " + p.Report.Limit.Reason
}

// asked sets a limit that a person wants though no cause calls for one.
func (p *planner) asked() {
	if p.Limit == 0 {
		for _, text := range p.Report.Collect {
			p.note("%s", text)
		}
		p.note("There is nothing to change for %s. A limit of your own: --limit SIZE.", p.finding.Cause)
		return
	}
	p.resize()
	p.limit()
}

// known tells the remedy of a known issue.
func (p *planner) known() {
	if k := p.Report.Known; k != nil {
		p.add(Step{
			Kind: FindOut, What: k.Remedy, Why: fmt.Sprintf("A known issue fits: %s. %s", k.Title, k.Match),
			Risk: Risk{Medium, "What the software's makers say of it counts: " + k.Source},
		})
	}
}

// amount writes bytes for people.
func amount(bytes int64) string { return bytesize.Text(bytes) }

// quantity writes bytes as Kubernetes does.
func quantity(bytes int64) string { return bytesize.Size(bytes).String() }
