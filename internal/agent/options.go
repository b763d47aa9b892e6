package agent

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"stella/internal/agent/inspect"
	"stella/internal/bytesize"
	"stella/internal/listen"
	"stella/internal/oom/ledger"
)

// The states of a witness.
const (
	stateOK     = "ok"
	stateOff    = "off"
	stateFailed = "failed"
)

// inspectEvery is how often gauges are read unless somebody says otherwise: as often as Prometheus does as a rule.
const inspectEvery = 30 * time.Second

// Options are all that an agent takes from its surroundings. [Options.Validate] fills in defaults.
type Options struct {
	Version string
	// Node is the node's name, as Kubernetes has it; empty is the host's name.
	Node string
	// Root is where the machine's file system is seen: "/", or in a container where the host's is mounted.
	Root string
	// StateDir keeps the ledger over restarts.
	StateDir string
	// MaxBytes and MaxAge bound the ledger; 0 are its defaults.
	MaxBytes bytesize.Size
	MaxAge   time.Duration

	// IncidentsTo is the address of a stellad that is told of incidents, too: unix:///PATH, https://HOST:PORT or http://HOST:PORT; empty is none.
	// IncidentsKeyFile has the key for it, and IncidentsCA the certificates that its own is checked against, "" the system's.
	IncidentsTo, IncidentsKeyFile, IncidentsCA string
	// CommandsTold says that the rdev-api of this machine tells of kills of its commands itself.
	CommandsTold bool

	// Socket is the path of the Unix socket for commands of this machine; SocketGroup is the group
	// whose members may use it beside root and the agent's user.
	Socket, SocketGroup string
	// Admin is HOST:PORT of metrics, health and profiles; empty is none. Beyond loopback it needs
	// TLS, unless AllowPlainHTTP, and TokenFile: a file with the bearer token that all but health needs.
	Admin           string
	TLSCert, TLSKey string
	AllowPlainHTTP  bool
	TokenFile       string
	// Kubeconfig is a file with access to Kubernetes; "" uses the pod's service account where there is one. NoKubernetes asks no API.
	Kubeconfig   string
	NoKubernetes bool
	// BPFDir is where the notes that the kernel takes are pinned, see [stella/internal/oom/victims]; empty is
	// sys/fs/bpf below Root. NoBPF takes none, and removes what is there.
	BPFDir string
	NoBPF  bool
	// Inspect is a file with cgroups that may be asked for gauges and heap profiles, see [inspect.ReadFile]; pods say so themselves. Empty is none.
	Inspect string
	// InspectEvery is how often gauges are read; 0 is half a minute.
	InspectEvery time.Duration

	Log *slog.Logger

	token   string
	targets []inspect.Target
}

// Validate finds what is wrong, and fills in what is empty.
func (o *Options) Validate() (err error) {
	if o.StateDir == "" {
		return errors.New("--state-dir is needed: where the ledger is kept over restarts")
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.IncidentsTo == "" && (o.IncidentsKeyFile != "" || o.IncidentsCA != "") {
		return errors.New("--incidents-key-file and --incidents-ca need --incidents-to: where incidents are sent")
	}
	for _, dir := range []*string{&o.StateDir, &o.Root, &o.Socket, &o.BPFDir} {
		if *dir == "" {
			continue
		}
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	if o.BPFDir == "" {
		o.BPFDir = filepath.Join(o.Root, "sys/fs/bpf")
	}
	if o.Node == "" {
		if o.Node, err = os.Hostname(); err != nil {
			return fmt.Errorf("the host has no name; give the node's with --node: %w", err)
		}
	}
	if o.MaxBytes != 0 && o.MaxBytes < ledger.MinBytes {
		return fmt.Errorf("--max-bytes %s: a ledger needs at least %s", o.MaxBytes, bytesize.Text(ledger.MinBytes))
	}
	if o.MaxAge < 0 {
		return fmt.Errorf("--max-age %s: write a positive time, such as 744h", o.MaxAge)
	}
	if o.Inspect != "" {
		if o.targets, err = inspect.ReadFile(o.Inspect); err != nil {
			return fmt.Errorf("--inspect: %w", err)
		}
	}
	if o.InspectEvery = cmp.Or(o.InspectEvery, inspectEvery); o.InspectEvery < time.Second {
		return fmt.Errorf("--inspect-every %s: write a second or more, such as 30s", o.InspectEvery)
	}
	if o.NoKubernetes && o.Kubeconfig != "" {
		return errors.New("--kubeconfig and --no-kubernetes exclude each other")
	}
	if o.Admin == "" {
		return nil
	}
	if err := o.admin().Validate(); err != nil {
		return fmt.Errorf("--admin: %w", err)
	}
	o.token, err = listen.ReadToken(o.TokenFile, o.Admin)
	return err
}

func (o *Options) admin() listen.TCPOptions {
	return listen.TCPOptions{Address: o.Admin, CertFile: o.TLSCert, KeyFile: o.TLSKey, AllowPlain: o.AllowPlainHTTP}
}
