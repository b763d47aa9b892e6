package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"stella/internal/bytesize"
	"stella/internal/scanner/resolve"
)

// Options are all that a server takes from its surroundings. [Options.Validate]
// fills in defaults.
type Options struct {
	Version string
	// DataDir keeps the database, what running jobs need, and the instance's name.
	DataDir string
	// CacheDir keeps finished layers, TempDir temporary files of scans. They are in
	// DataDir where they are empty.
	CacheDir, TempDir string
	// Store is sqlite:PATH or postgres://…; empty is a SQLite database in DataDir.
	Store string
	// Instance names this server among those that share a database; empty is the
	// host's name. It must stay the same over restarts, and be nobody else's.
	Instance string

	// Socket is the path of the Unix socket; empty is none. SocketGroup is the group
	// whose members may use it beside root and this server's user; empty is nobody.
	Socket, SocketGroup string
	// Listen is HOST:PORT for TCP; empty is none. Every request there needs an API key.
	Listen string
	// TLSCert and TLSKey are PEM files for Listen.
	TLSCert, TLSKey string
	// AllowPlainHTTP lets Listen be without TLS beyond loopback, behind a proxy that has it.
	AllowPlainHTTP bool
	// Admin is HOST:PORT of metrics, health and profiles; empty is none. Beyond
	// loopback, all of it but health needs an API key.
	Admin string

	// Worker is the stella program; empty is the one beside this program.
	Worker string
	// WorkerMemory is what all workers together may have; 0 is what the machine, or
	// the cgroup of this process, has, less what the rest needs.
	WorkerMemory bytesize.Size
	// AllowPaths are directories that references may name, whoever asks.
	AllowPaths []string
	// AllowAttach lets everybody who may scan push SBOMs with this server's credentials
	// for registries; else only who could read them anyway.
	AllowAttach bool
	// AllowRegistries are HOST[:PORT] of registries that may have loopback or
	// link-local addresses; PlainHTTP are those without TLS.
	AllowRegistries, PlainHTTP []string

	Log *slog.Logger
}

// Validate finds what is wrong, and fills in what is empty.
func (o *Options) Validate() error {
	if o.DataDir == "" {
		return errors.New("--data-dir is needed: where jobs and results are kept")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	o.DataDir = dir
	if o.Store == "" {
		o.Store = "sqlite:" + filepath.Join(dir, "stella.db")
	}
	if err := checkStore(o.Store); err != nil {
		return err
	}
	if o.CacheDir == "" {
		o.CacheDir = filepath.Join(dir, "cache")
	}
	if o.TempDir == "" {
		o.TempDir = filepath.Join(dir, "tmp")
	}
	if o.Instance == "" {
		if o.Instance, err = os.Hostname(); err != nil {
			return fmt.Errorf("the host has no name; give this server one with --instance: %w", err)
		}
	}
	if o.Socket == "" && o.Listen == "" {
		return errors.New("nobody could reach this server: give --socket, --listen, or both")
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together")
	}
	if o.Worker == "" {
		if o.Worker, err = besides("stella"); err != nil {
			return err
		}
	} else if o.Worker, err = exec.LookPath(o.Worker); err != nil { // or no worker would ever start
		return fmt.Errorf("--worker: %w", err)
	}
	for i, path := range o.AllowPaths {
		if o.AllowPaths[i], err = filepath.Abs(path); err != nil {
			return fmt.Errorf("--allow-path %s: %w", path, err)
		}
	}
	return o.policy().Check()
}

// policy is what references may lead to.
func (o *Options) policy() resolve.Policy {
	return resolve.Policy{Paths: o.AllowPaths, Registries: o.AllowRegistries, PlainHTTP: o.PlainHTTP}
}

// CheckFlag refuses a password in a store's address where other users of the
// machine could read it: on the command line.
func CheckFlag(store string) error {
	u, err := url.Parse(store)
	if err != nil || u.User == nil {
		return nil
	}
	if _, has := u.User.Password(); has {
		return errors.New("--store has a password, which everybody on this machine could read: give the address in the environment variable STELLA_STORE, or the password in PGPASSFILE or PGPASSWORD")
	}
	return nil
}

func checkStore(store string) error {
	for _, scheme := range []string{"sqlite:", "postgres://", "postgresql://"} {
		if strings.HasPrefix(store, scheme) {
			return nil
		}
	}
	return errors.New("--store: write sqlite:PATH or postgres://USER@HOST/DATABASE")
}

// besides finds a program in the directory of this one, or on the PATH.
func besides(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the program %s: %w; name it with --worker", name, err)
	}
	path := filepath.Join(filepath.Dir(self), name)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path, nil
	}
	return "", fmt.Errorf("there is no program %s beside %s, to run as workers; name it with --worker", name, self)
}
