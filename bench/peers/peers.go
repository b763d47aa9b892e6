// Package peers obtains the scanners that Stella is measured against, at pinned
// versions, from the Go module proxy.
//
// A peer is a Go program of somebody else. `go install` refuses a module with
// replace directives; such a peer is built from a module made for it that
// requires it at the same version. A peer that cannot be had is reported as
// unmeasured by the caller, never left out.
package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Peer is a scanner at a version.
type Peer struct {
	Name    string
	Package string // of its main
	Version string
}

// The peers, at the versions that the published figures are of.
var (
	Syft    = Peer{"syft", "github.com/anchore/syft/cmd/syft", "v1.52.0"}
	Scalibr = Peer{"scalibr", "github.com/google/osv-scalibr/binary/scalibr", "v0.5.3"}
)

// All lists the peers.
func All() []Peer { return []Peer{Syft, Scalibr} }

// outputTail is how much of a failed build's output an error carries, in bytes.
const outputTail = 2000

// Path is where Install puts the binary below dir.
func (p Peer) Path(dir string) string {
	return filepath.Join(dir, "peers", p.Name+"@"+p.Version, p.Name)
}

// Install returns the peer's binary below dir, building it where it is missing.
// Building takes minutes and needs the Go module proxy.
func (p Peer) Install(ctx context.Context, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("install %s: %w", p.Name, err)
	}
	binary := p.Path(dir)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return "", fmt.Errorf("install %s: %w", p.Name, err)
	}
	installErr := run(ctx, dir, []string{"GOBIN=" + filepath.Dir(binary)}, "install", "-p", "2", p.Package+"@"+p.Version)
	if installErr == nil {
		return binary, nil
	}
	if err := p.buildInModule(ctx, binary); err != nil {
		return "", fmt.Errorf("install %s %s: %w", p.Name, p.Version, errors.Join(installErr, err))
	}
	return binary, nil
}

// buildInModule builds from a module that requires the peer: requirements are
// honoured there, the peer's replace directives are not.
func (p Peer) buildInModule(ctx context.Context, binary string) error {
	module, err := os.MkdirTemp("", "stella-peer-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(module)
	for _, args := range [][]string{
		{"mod", "init", "peer"},
		{"get", p.Package + "@" + p.Version},
		{"build", "-p", "2", "-o", binary, p.Package},
	} {
		if err := run(ctx, module, nil, args...); err != nil {
			return err
		}
	}
	return nil
}

// run runs the go command outside of this repository's module and flags.
func run(ctx context.Context, dir string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOFLAGS=", "GOWORK=off"), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w: %s", args[0], err, bytes.TrimSpace(out[max(0, len(out)-outputTail):]))
	}
	return nil
}
