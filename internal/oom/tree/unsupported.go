//go:build !linux

package tree

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
)

var errUnsupported = errors.New("cgroups are a feature of Linux, and this is " + runtime.GOOS)

// Watch says that there are no cgroups to watch.
func (h Hierarchy) Watch(context.Context, *slog.Logger, func(Event)) error { return errUnsupported }

func realPath(string) (string, error) { return "", errUnsupported }
