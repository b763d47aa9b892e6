package images

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// debianSuite is what debootstrap unpacks, from its default mirror.
const debianSuite = "bookworm"

// debianPackages bring in about 330 packages with their dependencies, and close
// to 600 jars.
var debianPackages = strings.Fields(`openjdk-17-jdk-headless maven groovy gradle scala tomcat10 libjetty9-java jruby
	libspring-core-java libnetty-java libbatik-java libderby-java libactivemq-java libequinox-osgi-java ivy
	python3-pip git perl ruby curl vim postgresql-client nginx-light redis-server`)

// nodePackages is the package.json of the application; with npmBefore it fixes
// what npm resolves.
//
//go:embed node-package.json
var nodePackages []byte

const npmBefore = "2025-01-01"

// goPrograms are built for the image: real binaries with real module lists.
var goPrograms = []string{
	"github.com/google/go-containerregistry/cmd/crane@v0.20.2",
	"github.com/mikefarah/yq/v4@v4.44.3",
	"github.com/junegunn/fzf@v0.56.0",
	"golang.org/x/tools/gopls@v0.20.0",
	"github.com/caddyserver/caddy/v2/cmd/caddy@v2.10.0",
	"github.com/prometheus/node_exporter@v1.9.1",
}

// root returns the tree of that name, making it where the store has none.
func (s Store) root(ctx context.Context, name string, make func(context.Context, string) error) (string, error) {
	dir := filepath.Join(s.Dir, "roots", name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	s.logger().Info("making root", "name", name)
	part := dir + ".part"
	err := os.RemoveAll(part)
	if err == nil {
		err = os.MkdirAll(part, 0o755)
	}
	if err == nil {
		err = make(ctx, part)
	}
	if err == nil {
		err = os.Rename(part, dir)
	}
	if err != nil {
		return "", fmt.Errorf("make root %s: %w", name, err)
	}
	return dir, nil
}

// smallRoot needs root and debootstrap.
func (s Store) smallRoot(ctx context.Context) (string, error) {
	return s.root(ctx, "small", func(ctx context.Context, part string) error {
		if err := s.run(ctx, "", nil, "debootstrap", "--variant=minbase", debianSuite, part); err != nil {
			return err
		}
		return cleanDebian(part)
	})
}

// debianRoot is smallRoot with more packages, installed by its own apt.
func (s Store) debianRoot(ctx context.Context) (string, error) {
	small, err := s.smallRoot(ctx)
	if err != nil {
		return "", err
	}
	return s.root(ctx, "debian", func(ctx context.Context, part string) error {
		if err := s.run(ctx, "", nil, "cp", "-a", small+"/.", part); err != nil {
			return err
		}
		if err := s.run(ctx, "", nil, "cp", "-L", "/etc/resolv.conf", filepath.Join(part, "etc")); err != nil {
			return err
		}
		// Maintainer scripts of Java packages read /proc; none may start a daemon.
		proc, policy := filepath.Join(part, "proc"), filepath.Join(part, "usr/sbin/policy-rc.d")
		if err := os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
			return err
		}
		if err := s.run(ctx, "", nil, "mount", "-t", "proc", "proc", proc); err != nil {
			return err
		}
		install := append([]string{part, "apt-get", "install", "-y", "--no-install-recommends"}, debianPackages...)
		err := s.run(ctx, "", nil, "chroot", part, "apt-get", "update")
		if err == nil {
			err = s.run(ctx, "", []string{"DEBIAN_FRONTEND=noninteractive"}, "chroot", install...)
		}
		// Not ctx: the mount must go although the caller gave up.
		err = errors.Join(err, s.run(context.WithoutCancel(ctx), "", nil, "umount", proc), os.Remove(policy))
		if err != nil {
			return err
		}
		return cleanDebian(part)
	})
}

// cleanDebian removes what image builders remove: package files, lists and logs.
// /dev stays: the programs of the tree need its nodes, which no layer gets.
func cleanDebian(root string) error {
	for _, pattern := range []string{"var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*", "tmp/*"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s Store) nodeRoot(ctx context.Context) (string, error) {
	return s.root(ctx, "node", func(ctx context.Context, part string) error {
		if err := os.WriteFile(filepath.Join(part, "package.json"), nodePackages, 0o644); err != nil {
			return err
		}
		// Scripts of foreign packages are never run.
		return s.run(ctx, part, nil, "npm", "install", "--before="+npmBefore,
			"--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps")
	})
}

func (s Store) goRoot(ctx context.Context) (string, error) {
	return s.root(ctx, "go", func(ctx context.Context, part string) error {
		for _, p := range goPrograms {
			if err := s.run(ctx, s.Dir, []string{"GOBIN=" + part, "GOFLAGS="}, "go", "install", "-p", "2", p); err != nil {
				return err
			}
		}
		return nil
	})
}

// run runs a program with its output in a log file of the store, which the error
// names.
func (s Store) run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	logName := filepath.Join(s.Dir, "roots", filepath.Base(name)+".log")
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w; its output is in %s", name, err, logName)
	}
	return nil
}
