package tree

import (
	"context"
	"log/slog"
)

// WatchWithin is Watch with other bounds on cgroups and watches.
func (h Hierarchy) WatchWithin(ctx context.Context, log *slog.Logger, each func(Event), cgroups, watches int) error {
	return h.watch(ctx, log, each, limits{cgroups, watches})
}

// The parsers, for fuzzing.
var (
	InotifyEvents    = inotifyEvents
	DirectoryEntries = directoryEntries
	Mounts           = mounts
)

// Name is the name of the event.
func (e inotifyEvent) Name() []byte { return e.name }

// Name is the name of the entry.
func (e entry) Name() []byte { return e.name }

// Version is that of the mount's cgroups.
func (m mount) Version() int { return m.version }
