package rdevserver

import (
	"context"

	"stella/internal/rdev"
	"stella/internal/rdev/pods"
	"stella/internal/rdev/run"
)

// runner runs commands where their project is.
type runner struct {
	here *run.Runner
	pods *pods.Runner
}

// Run implements service.Runner.
func (r runner) Run(ctx context.Context, p rdev.Project, s run.Spec, started func()) rdev.End {
	if p.Kind == rdev.Pod {
		return r.pods.In(p).Run(ctx, s, started)
	}
	return r.here.Run(ctx, s, started)
}
