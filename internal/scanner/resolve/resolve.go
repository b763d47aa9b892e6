// Package resolve opens the references of jobs, for the service, which must not
// become a way to read what its callers cannot: its own files, and what its
// machine alone can reach over the network.
//
// Words: a caller is local when it could read the server's files without the
// server, see [scanner.Caller]; for it there is no policy. For all others a
// [Policy] says what references may lead to. Without anything in it, that is every
// registry with a public or private address, and no path at all.
//
// Hazards:
//
//   - A reference is checked where it is used, not before: what a name or a link
//     leads to can change between two looks. So each [Open] has the policy, the one
//     when a job is submitted and the one of each attempt. An attempt must know whether the
//     caller was local.
//   - Private addresses (RFC 1918, RFC 4193) are allowed, since registries live there.
//     What the server can reach on private networks, callers can send GET requests
//     to; keep stellad off networks where that is too much.
//   - Errors about paths must not tell whether a file is there; see [image.Paths].
package resolve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"

	"stella/internal/scan/image"
	"stella/internal/scan/image/registry"
	"stella/internal/scanner"
)

// Policy is what references of callers that are not local may lead to.
type Policy struct {
	// Paths are directories that references to layouts, archives and directories may name; absolute.
	Paths []string
	// Registries are hosts, HOST or HOST:PORT, that are allowed although their
	// addresses are loopback, link-local, or of a cloud's metadata service.
	Registries []string
	// PlainHTTP are registries that may be spoken to without TLS. It counts for local callers too.
	PlainHTTP []string
}

// Check finds what is wrong with a policy, before anything is opened with it.
func (p Policy) Check() error {
	for _, dir := range p.Paths {
		if !filepath.IsAbs(dir) {
			return fmt.Errorf("%q: a directory that references may name must be absolute, such as /srv/images", dir)
		}
	}
	for _, host := range append(p.Registries[:len(p.Registries):len(p.Registries)], p.PlainHTTP...) {
		if host == "" || strings.ContainsAny(host, "/ ,@") {
			return fmt.Errorf("%q: name a registry as HOST or HOST:PORT, without https:// and without a repository", host)
		}
	}
	return nil
}

// Options are the same for all callers. The zero value is ready to use.
type Options struct {
	// Digest, where not empty, is what the reference led to earlier: that manifest is opened.
	Digest string
	// TempDir is where a gzipped archive is unpacked to; "" means the system's.
	TempDir   string
	UserAgent string
	Log       *slog.Logger
}

// Open opens a reference for a caller. The image must be closed; layers are
// fetched under the same policy. Errors match [scanner.ErrDenied] (the policy,
// or the registry, refuses), [scanner.ErrNotFound], [scanner.ErrUnavailable]
// (the registry does not answer now: the only kind that is worth another try) or
// [scanner.ErrInvalid] (it is no image), and none of them where this machine is at fault.
func Open(ctx context.Context, ref, platform string, p Policy, local bool, o Options) (*image.Image, error) {
	io := image.Options{
		Platform: platform, Digest: o.Digest, PlainHTTP: p.PlainHTTP,
		TempDir: o.TempDir, UserAgent: o.UserAgent, Log: o.Log,
	}
	if !local {
		io.Paths = &image.Paths{Allowed: p.Paths}
		io.Addresses = &registry.Addresses{Allowed: p.Registries}
	}
	m, err := image.Open(ctx, ref, io)
	if err != nil {
		return nil, explain(err, o.Digest)
	}
	return m, nil
}

// explain gives an error of opening a kind, and says what to do where the error does not.
func explain(err error, digest string) error {
	var remote *registry.Error
	atRegistry := errors.As(err, &remote)
	var errno syscall.Errno
	switch {
	case errors.Is(err, image.ErrForbidden) && atRegistry:
		return scanner.Errorf(scanner.ErrDenied, "%w; whoever runs the server can list it: stellad --allow-registry HOST[:PORT]", err)
	case errors.Is(err, image.ErrForbidden):
		return scanner.Errorf(scanner.ErrDenied, "%w; push the image to a registry, or have whoever runs the server allow its directory: stellad --allow-path DIRECTORY", err)
	case errors.Is(err, image.ErrAuth):
		return scanner.Errorf(scanner.ErrDenied, "%w", err)
	case errors.Is(err, image.ErrNotFound) && digest != "":
		return scanner.Errorf(scanner.ErrNotFound, "%w; the image that was asked for, %s, has been removed or replaced since then: ask for it again", err, digest)
	case errors.Is(err, image.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return scanner.Errorf(scanner.ErrNotFound, "%w", err)
	case atRegistry && remote.Passing(), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return scanner.Errorf(scanner.ErrUnavailable, "%w", err)
	case errors.As(err, &errno) && !errors.Is(err, fs.ErrPermission):
		return err // of a file system: a full disk, too many open files
	}
	return scanner.Errorf(scanner.ErrInvalid, "%w", err)
}

// Target is what routing needs to know of an opened image.
func Target(m *image.Image) scanner.Target {
	t := scanner.Target{Digest: m.Digest, Layers: len(m.Layers)}
	for i := range m.Layers {
		if m.Layers[i].Size < 0 {
			t.Size = -1
			break
		}
		t.Size += m.Layers[i].Size
	}
	return t
}
