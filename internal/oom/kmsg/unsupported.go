//go:build !linux

package kmsg

import (
	"context"
	"errors"
	"time"

	"stella/internal/oom"
)

// Follow needs Linux.
func Follow(context.Context, Options, func(oom.Report), func(oom.Lost), func(uint64)) error {
	return &UnavailableError{"/dev/kmsg", errors.ErrUnsupported}
}

func machineClock() (time.Time, time.Duration) { return time.Now(), 0 }
