// Package programs finds or builds what a test cluster runs: Kubernetes from its
// Go modules, and static Go programs for images.
//
// Kubernetes is built once into the user's cache directory, under a name that
// holds a hash of what it is built from, and is found there from then on. A
// machine without a Go toolchain, such as a test's virtual machine, is given
// everything in one directory named by STELLA_TEST_PROGRAMS.
package programs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Version is the version of Kubernetes, as its modules are tagged. It stands in
// kubernetes/go.mod too; a test compares the two.
const Version = "v1.35.4"

// Environment names the directory with programs that are ready made.
const Environment = "STELLA_TEST_PROGRAMS"

// file is the one file that is all of Kubernetes.
const file = "kubernetes"

// Names are the programs that the Kubernetes file answers to.
var Names = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet"}

// Kubernetes returns the directory with the programs in [Names]. It builds them
// if the cache has none, which takes many minutes and is said on log. Two calls
// at once, also of two processes, build once.
func Kubernetes(ctx context.Context, log io.Writer) (string, error) {
	if dir := os.Getenv(Environment); dir != "" {
		return readyMade(dir)
	}
	source, err := source()
	if err != nil {
		return "", err
	}
	source = filepath.Join(source, "kubernetes")
	key, err := key(source)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a place for Kubernetes: %w", err)
	}
	dir := filepath.Join(cache, "stella-test", "kubernetes-"+Version+"-"+key)
	unlock, err := lock(dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
		return dir, nil
	}
	fmt.Fprintf(log, "cluster: building Kubernetes %s into %s, once; this takes 4 to 30 minutes\n", Version, dir)
	if err := build(ctx, source, dir, log); err != nil {
		return "", err
	}
	return dir, nil
}

// readyMade checks the directory that Environment names. A relative name is
// relative to the package that is tested, which is seldom what was meant.
func readyMade(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, file))
	}
	if err != nil {
		return "", fmt.Errorf("find Kubernetes where %s says: %w", Environment, err)
	}
	return dir, nil
}

// Copy puts what is in a directory that Kubernetes returned into another one, in
// place of what has the same names there.
func Copy(from, to string) error {
	source, err := os.Stat(from)
	if err != nil {
		return fmt.Errorf("copy Kubernetes: %w", err)
	}
	if target, err := os.Stat(to); err == nil && os.SameFile(source, target) {
		return nil
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return fmt.Errorf("copy Kubernetes: %w", err)
	}
	for _, entry := range entries {
		if err := os.Remove(filepath.Join(to, entry.Name())); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replace an older Kubernetes: %w", err)
		}
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy Kubernetes: %w", err)
	}
	return nil
}

// build makes the file and its names; the file comes last and whole, because its
// being there is what says that the directory is finished.
func build(ctx context.Context, source, dir string, log io.Writer) error {
	for _, name := range Names {
		if err := os.Symlink(file, filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("build Kubernetes: %w", err)
		}
	}
	part := filepath.Join(dir, "kubernetes.part")
	major, minor, _ := strings.Cut(strings.TrimPrefix(Version, "v"), ".")
	minor, _, _ = strings.Cut(minor, ".")
	const about = "-X k8s.io/component-base/version."
	flags := strings.Join([]string{"-s -w", about + "gitVersion=" + Version, about + "gitMajor=" + major, about + "gitMinor=" + minor}, " ")
	if err := goBuild(ctx, source, part, ".", log, "-ldflags", flags); err != nil {
		return fmt.Errorf("build Kubernetes: %w", err)
	}
	return os.Rename(part, filepath.Join(dir, file))
}

// Static builds a Go program that needs nothing around it and writes it to the
// directory dir. It returns the file. What is Stella's own is built in Stella's module,
// from the versions that are shipped.
func Static(ctx context.Context, pkg, dir string) (string, error) {
	if ready := os.Getenv(Environment); ready != "" {
		return filepath.Join(ready, path.Base(pkg)), nil
	}
	source, err := source()
	if err != nil {
		return "", err
	}
	out, err := filepath.Abs(filepath.Join(dir, path.Base(pkg))) // the build runs elsewhere
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	if strings.HasPrefix(pkg, "stella/") && !strings.HasPrefix(pkg, "stella/test/cluster/") {
		source = filepath.Join(source, "..", "..")
	}
	var log strings.Builder
	if err := goBuild(ctx, source, out, pkg, &log); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, log.String())
	}
	return out, nil
}

func goBuild(ctx context.Context, dir, out, pkg string, log io.Writer, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-o", out}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	return cmd.Run()
}

// source returns the directory of this module. The running test, or program, was
// started somewhere in the repository.
func source() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the sources of Kubernetes: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		module := filepath.Join(dir, "test", "cluster")
		if _, err := os.Stat(filepath.Join(module, "kubernetes", "go.mod")); err == nil {
			return module, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in Stella's repository, which has what Kubernetes is built from: go there, or set %s", start, Environment)
		}
	}
}

// key identifies what is built: the module's own files pin all others.
func key(source string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version())
	for _, name := range append(files, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum")) {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read what Kubernetes is built from: %w", err)
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(name), len(data))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// lock makes a directory and waits until no other process builds into it.
func lock(dir string) (func(), error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make a place for Kubernetes: %w", err)
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
