package remedy

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Names of variables that programs commonly read. A variable that only looks like one is shown as any change is: with its risk and its difference.
var (
	atOnce   = regexp.MustCompile(`(?i)(concurren|parallel|(^|_)(workers|threads|jobs)$|max_?(workers|threads|jobs|children|procs|connections|conns)$|pool_?size$)`)
	cacheTTL = regexp.MustCompile(`(?i)cache.*ttl|ttl.*cache`)
)

const (
	goMemLimit = "GOMEMLIMIT"
	// goShare is the share of the limit that the Go runtime is told of: the rest is for what it does not count (stacks of C, files, the binary's pages).
	goShare = 0.9
)

// goVariables tell that a program is one of Go: nothing else reads them.
var goVariables = []string{goMemLimit, "GOGC", "GOMAXPROCS", "GODEBUG"}

// variable is one of a container's, with a value of its own.
type variable struct {
	place []string // of its entry
	name  string
	value string
}

// variables are those of the container in its owner that have a value there, and not in a Secret or elsewhere.
func (p *planner) variables() (owner *Object, all []variable) {
	if p.Workload == nil || p.Workload.Owner == nil {
		return nil, nil
	}
	owner = p.Workload.Owner
	place, ok := owner.container(p.Workload.Container)
	if !ok {
		return nil, nil
	}
	env := under(place, "env")
	for i, item := range owner.list(env...) {
		name, _ := at[string](item, []string{"name"})
		value, ok := at[string](item, []string{"value"})
		if ok {
			all = append(all, variable{under(env, strconv.Itoa(i)), name, value})
		}
	}
	return owner, all
}

// vary adds the step that gives a variable another value.
func (p *planner) vary(kind Kind, owner *Object, v variable, value, what string, risk Risk) {
	s := Step{Kind: kind, What: what, Risk: risk, Target: owner.target(), Want: &Want{Container: p.Workload.Container}}
	if v.place != nil {
		s.Edits = []Edit{set(owner.tree, value, under(v.place, "value")...)}
	} else {
		place, _ := owner.container(p.Workload.Container)
		s.Edits = []Edit{p.variableToAdd(owner, under(place, "env"), v.name, value)}
	}
	s.Undo = "The same way back: stella remedy rollback, which replaces the pods once more."
	s.Commands = []string{s.Target.kubectl("set", "env", s.Target.resource(), "--containers="+p.Workload.Container, v.name+"="+value)}
	if rollout := s.Target.rollout(); rollout != "" {
		s.Commands = append(s.Commands, rollout)
	}
	p.finish(&s, owner)
	p.add(s)
}

func (p *planner) variableToAdd(owner *Object, env []string, name, value string) Edit {
	entry := map[string]any{"name": name, "value": value}
	if n := len(owner.list(env...)); n > 0 {
		return set(owner.tree, entry, under(env, strconv.Itoa(n))...)
	}
	return set(owner.tree, []any{entry}, env...)
}

// fewer halves what the program does at the same time, where a variable says how much that is.
func (p *planner) fewer() {
	owner, all := p.variables()
	for _, v := range all {
		n, err := strconv.Atoi(v.value)
		if err != nil || n < 2 || !atOnce.MatchString(v.name) || v.name == "GOMAXPROCS" {
			continue
		}
		less := strconv.Itoa(n / 2)
		p.vary(Concurrency, owner, v, less, fmt.Sprintf("Do half as much at the same time: %s=%s → %s.", v.name, v.value, less),
			Risk{Medium, "That the program reads " + v.name + " as how much it does at once is a guess by its name. It gets slower, and its pods are replaced."})
	}
}

// shorterCache halves the time for which the program keeps things.
func (p *planner) shorterCache() {
	owner, all := p.variables()
	for _, v := range all {
		if !cacheTTL.MatchString(v.name) {
			continue
		}
		half := ""
		if n, err := strconv.Atoi(v.value); err == nil && n > 1 {
			half = strconv.Itoa(n / 2)
		} else if d, err := time.ParseDuration(v.value); err == nil && d >= 2*time.Second {
			half = (d / 2).Truncate(time.Second).String()
		}
		if half == "" {
			continue
		}
		p.vary(Environment, owner, v, half, fmt.Sprintf("Keep things in the cache for half as long: %s=%s → %s.", v.name, v.value, half),
			Risk{Medium, "It helps only if it is the cache that grows. There is more to fetch again, and its pods are replaced."})
	}
}

// goLimit tells the Go runtime of the limit, where the program is one of Go.
func (p *planner) goLimit() {
	bytes := p.wanted()
	owner, all := p.variables()
	if bytes == 0 || owner == nil {
		return
	}
	isGo, have := false, variable{name: goMemLimit}
	for _, v := range all {
		for _, name := range goVariables {
			isGo = isGo || v.name == name
		}
		if v.name == goMemLimit {
			have = v
		}
	}
	if !isGo {
		return
	}
	value := fmt.Sprintf("%dMiB", int64(goShare*float64(bytes))>>20)
	if have.value == value {
		return
	}
	p.vary(Environment, owner, have, value, fmt.Sprintf("Tell the Go runtime of the limit: %s=%s (of %s).", goMemLimit, value, quantity(bytes)),
		Risk{Low, "It collects garbage more often before it comes near the limit, which costs processor time there; its pods are replaced."})
}
