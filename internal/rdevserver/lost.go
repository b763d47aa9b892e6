package rdevserver

import (
	"context"
	"time"

	"stella/internal/rdev"
)

// endTime bounds how long it may take to end one command in a pod.
const endTime = 30 * time.Second

// endLost ends in pods what an earlier process began there and could not end, as the commands that were recorded as lost
// since say. On this machine that was done before they were recorded.
func (p *parts) endLost(ctx context.Context, since time.Time) error {
	lost, err := p.commands.Commands(ctx, rdev.Filter{Status: rdev.Ended, Since: since})
	if err != nil {
		p.o.Log.Warn("what an earlier process left running in pods cannot be looked for", "error", err)
		return nil
	}
	for _, c := range lost.Commands {
		if c.End == nil || c.End.Reason != rdev.ReasonLost {
			continue
		}
		if err := p.endIn(ctx, c); err != nil {
			p.o.Log.Warn("a command that an earlier process left running cannot be ended", "command", c.ID, "project", c.Project, "error", err)
		}
	}
	return nil
}

func (p *parts) endIn(ctx context.Context, c rdev.Command) error {
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	where, err := p.projects.Get(ctx, c.Project)
	if err != nil || where.Kind != rdev.Pod {
		return err
	}
	return p.runner.pods.In(where).RemoveLeft(ctx, c.ID)
}
