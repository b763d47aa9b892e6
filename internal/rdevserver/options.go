package rdevserver

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/listen"
	"stella/internal/rdev/keys"
	"stella/internal/rdev/projects"
	"stella/internal/rdev/run"
	"stella/internal/rdev/service"
)

// perSecond is how many requests a key may send in a second unless somebody says otherwise: each costs a look into the database.
const perSecond = 100

// maxStreams is how many connections of events there may be unless somebody says otherwise: some 2 KiB each here, and a buffer in the kernel.
const maxStreams = 16384

// Options are all that the service takes from its surroundings. [Options.Validate] fills in defaults.
type Options struct {
	Version string
	// StateDir keeps the database, the outputs and heap profiles.
	StateDir string
	// Store is sqlite:PATH or postgres://…; empty is a SQLite database in StateDir. One process at a time may use it.
	Store string
	// Handover is how long to wait while another process has the database; 0 is not at all.
	Handover time.Duration

	// Projects are NAME=DIRECTORY, or a DIRECTORY whose name it is; Roots are directories whose directories are projects.
	Projects, Roots []string
	// Pods chooses pods as projects by their labels, where Kubernetes is set; Namespace is theirs, "" the service's own. Container is
	// the one of each, "" its default.
	Kubernetes                 bool
	Pods, Namespace, Container string
	// Kubeconfig is a file with access to Kubernetes; "" uses the pod's service account.
	Kubeconfig string
	// CacheTTL is for how long a listing of projects is kept; 0 is the default.
	CacheTTL time.Duration

	// Socket is the path of the Unix socket for commands of this machine, "" none; SocketGroup is the group whose members may
	// run commands through it.
	Socket, SocketGroup string
	// Listen is HOST:PORT of the API, and Admin of metrics, health and profiles; "" is none. Beyond loopback Listen needs
	// TLS unless AllowPlainHTTP, and Admin asks for the same keys as Listen.
	Listen, Admin   string
	TLSCert, TLSKey string
	AllowPlainHTTP  bool
	// AdminKeyFile has a key with the scope admin, for who makes the first keys; "" is none.
	AdminKeyFile string
	// MetricsFrom are networks from which /metrics may be read without a key.
	MetricsFrom []string

	// User is whose commands they are on this machine: a name or a number; "" is the service's own.
	User string
	// Limits bound commands; what is 0 has its default.
	Limits service.Limits
	// LogBytes and LogAge bound the outputs that are kept; 0 are the defaults.
	LogBytes bytesize.Size
	LogAge   time.Duration
	// PerSecond is how many requests a key may send in a second, twice as many at once; 0 is 100.
	PerSecond int
	// Streams, StreamsPerKey and StreamsPerCommand bound connections of events, and StreamAge how long one lives; 0 are the defaults.
	Streams, StreamsPerKey, StreamsPerCommand int
	StreamAge                                 time.Duration
	// WebhookSecretFile has the secrets that webhooks are signed with; without it there are none. WebhookAllow are
	// networks that they may go to although they are not public; WebhookPlainHTTP lets public ones be called without TLS.
	WebhookSecretFile string
	WebhookAllow      []string
	WebhookPlainHTTP  bool

	// IncidentsTo is the stellad that is told of commands which were killed for want of memory: https://HOST:PORT or unix:PATH; empty is none.
	// IncidentsKeyFile has an API key for it with the scope incidents.
	IncidentsTo, IncidentsKeyFile string

	Log *slog.Logger

	master        string // of AdminKeyFile
	places        map[string]string
	metricsFrom   []netip.Prefix
	webhookAllow  []netip.Prefix
	user          *run.User
	totalByItself bool // nobody said how much memory commands may have
}

// Validate finds what is wrong, and fills in what is empty.
func (o *Options) Validate() error {
	if o.StateDir == "" {
		return errors.New("--state-dir is needed: where commands and their output are kept")
	}
	for _, dir := range []*string{&o.StateDir, &o.Socket} {
		if *dir == "" {
			continue
		}
		var err error
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	o.Store = cmp.Or(o.Store, "sqlite:"+filepath.Join(o.StateDir, "rdev.db"))
	if o.Socket == "" && o.Listen == "" {
		return errors.New("nobody could reach this service: give --socket, --listen, or both")
	}
	if o.IncidentsTo == "" && o.IncidentsKeyFile != "" {
		return errors.New("--incidents-key-file is of no use without --incidents-to")
	}
	for _, check := range []func() error{o.checkListeners, o.checkProjects, o.checkNetworks, o.readMaster, o.findUser} {
		if err := check(); err != nil {
			return err
		}
	}
	return o.checkLimits()
}

func (o *Options) tcp(address string) listen.TCPOptions {
	return listen.TCPOptions{Address: address, CertFile: o.TLSCert, KeyFile: o.TLSKey, AllowPlain: o.AllowPlainHTTP}
}

func (o *Options) checkListeners() error {
	for name, address := range map[string]string{"--listen": o.Listen, "--admin": o.Admin} {
		if address == "" {
			continue
		}
		if err := o.tcp(address).Validate(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (o *Options) checkProjects() error {
	o.places = map[string]string{}
	for _, p := range o.Projects {
		name, dir, named := strings.Cut(p, "=")
		if !named {
			dir = p
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("--project %s: %w", p, err)
		}
		if !named {
			name = projects.NameOf(dir)
		}
		if err := projects.CheckName(name); err != nil {
			return fmt.Errorf("--project %s: %w", p, err)
		}
		if other, taken := o.places[name]; taken {
			return fmt.Errorf("--project: %s and %s would both be the project %s: give one of them another name, as NAME=DIRECTORY", other, dir, name)
		}
		o.places[name] = dir
	}
	for i, dir := range o.Roots {
		var err error
		if o.Roots[i], err = filepath.Abs(dir); err != nil {
			return fmt.Errorf("--root %s: %w", dir, err)
		}
	}
	switch {
	case !o.Kubernetes && (o.Pods != "" || o.Namespace != "" || o.Container != "" || o.Kubeconfig != ""):
		return errors.New("--pods, --namespace, --container and --kubeconfig are about pods: give --kubernetes as well")
	case len(o.places)+len(o.Roots) == 0 && !o.Kubernetes:
		return errors.New("there are no projects to run commands in: give --project DIRECTORY, --root DIRECTORY or --kubernetes")
	}
	return nil
}

func (o *Options) checkNetworks() (err error) {
	if o.metricsFrom, err = prefixes("--metrics-from", o.MetricsFrom); err != nil {
		return err
	}
	o.webhookAllow, err = prefixes("--webhook-allow", o.WebhookAllow)
	return err
}

// prefixes reads networks, several of which may be in one value, with commas.
func prefixes(flag string, values []string) (all []netip.Prefix, err error) {
	for _, text := range strings.FieldsFunc(strings.Join(values, ","), func(r rune) bool { return r == ',' }) {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %q is no network, such as 10.0.0.0/8", flag, text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

func (o *Options) readMaster() error {
	if o.AdminKeyFile == "" {
		return nil
	}
	text, err := os.ReadFile(o.AdminKeyFile)
	if err != nil {
		return fmt.Errorf("--admin-key-file: %w", err)
	}
	if o.master = strings.TrimSpace(string(text)); len(o.master) < keys.MinMaster {
		return fmt.Errorf("--admin-key-file %s: a key of %d characters can be guessed; make one of at least %d, for instance with: openssl rand -hex 32", o.AdminKeyFile, len(o.master), keys.MinMaster)
	}
	return nil
}

// findUser looks up whose commands they are, with the groups.
func (o *Options) findUser() error {
	if o.User == "" {
		return nil
	}
	u, err := user.Lookup(o.User)
	if _, numeric := strconv.Atoi(o.User); err != nil && numeric == nil {
		u, err = user.LookupId(o.User)
	}
	if err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return fmt.Errorf("--user %s: its groups: %w", o.User, err)
	}
	o.user = &run.User{Name: u.Username, Home: u.HomeDir}
	ids := []*uint32{&o.user.UID, &o.user.GID}
	for i, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("--user %s: %w", o.User, err)
		}
		if i < len(ids) {
			*ids[i] = uint32(id)
		} else {
			o.user.Groups = append(o.user.Groups, uint32(id))
		}
	}
	return nil
}

func (o *Options) checkLimits() error {
	if min(o.Limits.Running, o.Limits.PerProject, o.Limits.PerCaller, o.Limits.Queued, o.PerSecond, o.Streams, o.StreamsPerKey, o.StreamsPerCommand) < 0 ||
		min(o.CacheTTL, o.LogAge, o.StreamAge, o.Handover) < 0 {
		return errors.New("a limit or time is negative: write a positive one, or leave it out for the default")
	}
	o.Streams, o.PerSecond, o.CacheTTL = cmp.Or(o.Streams, maxStreams), cmp.Or(o.PerSecond, perSecond), cmp.Or(o.CacheTTL, projects.DefaultTTL)
	o.totalByItself = o.Limits.TotalMemory == 0
	return nil
}
