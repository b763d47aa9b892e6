package run

import (
	"context"
	"errors"
	"time"

	"stella/internal/rdev"
)

// errTimeout is the cause of a context whose command had its time.
var errTimeout = errors.New("its time was over")

// Until is a context that ends with ctx, or after a command's time, 0 for as long as it takes. [EndedBy] tells which.
func Until(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, timeout, errTimeout)
}

// EndedBy is the reason for which the end of a context of [Until] ends a command, and a sentence.
func EndedBy(ctx context.Context) (rdev.Reason, string) {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTimeout):
		return rdev.ReasonTimeout, "its time was over"
	case errors.Is(cause, context.Canceled):
		return rdev.ReasonCancelled, "it was cancelled"
	default:
		return rdev.ReasonCancelled, "it was cancelled: " + cause.Error()
	}
}
