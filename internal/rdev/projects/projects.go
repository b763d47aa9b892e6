// Package projects knows where commands can run: directories of this machine, and containers of a cluster's pods.
//
// Words: a root is a directory whose own directories are projects, by their names; a place is one
// directory that is a project itself. A listing is what was found when somebody looked; it is kept for [Options].TTL, and then
// forgotten whether anybody asked or not. Directories and pods have a listing each, so that trouble with a cluster hides no directory.
//
// What is held is at most [MaxProjects] and [MaxBytes] in each listing, whatever lies in a root or runs in a cluster.
//
// Hazards:
//
//   - A name is taken by who comes first: places, roots in their order, pods. The others of that name are not listed, which is logged.
//   - A project is as it was when somebody looked last, up to the TTL ago.
//   - [Projects.Directory] looks through [os.Root], so no link leads out of a project. What it returns is a path, though: who may write in the
//     project can put a link there afterwards. They can also run a command that goes there, as the same user.
package projects

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"stella/internal/kube"
	"stella/internal/rdev"
)

const (
	// MaxProjects bounds a listing: more are not worth choosing from.
	MaxProjects = 10_000
	// MaxBytes bounds it with what each project costs in memory, for names and reasons of any length.
	MaxBytes = 4 << 20
	// MaxName is the length of the longest name, in bytes: that of a pod.
	MaxName = 253
	// DefaultTTL is how long a listing is kept unless Options say so.
	DefaultTTL = 30 * time.Second

	// lookTimeout bounds how long one look may take.
	lookTimeout = 30 * time.Second
	// failureTTL is how long a failure is kept, so that a cluster in trouble is not asked by every request.
	failureTTL = time.Second
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotFound = errors.New("there is no such project")
	// ErrTooMany says that not all projects are listed.
	ErrTooMany = fmt.Errorf("there are more than %d projects, or %d bytes of what is told of them: not all are listed", MaxProjects, MaxBytes)
	// ErrName says what a name may be.
	ErrName = fmt.Errorf("a project's name has small letters, digits, dots, dashes and underscores, begins with a letter or digit, and has at most %d bytes", MaxName)
)

// Options say where to look.
type Options struct {
	// Roots are directories whose directories are projects. Those whose name does not fit (see [CheckName]) are left out.
	Roots []string
	// Places are projects by name.
	Places map[string]string
	// Kube is the cluster whose pods are projects; nil is none.
	Kube *kube.Client
	// Namespace is where the pods are; "" is the client's own.
	Namespace string
	// Labels chooses among them, as kubectl does: "app=web". "" is all.
	Labels string
	// Container is the one of each pod; "" is the one that the pod's annotation names as its default, or its first.
	Container string
	// TTL is how long a listing is kept; 0 is [DefaultTTL].
	TTL time.Duration
	Log *slog.Logger
}

// Projects are those of this machine and of a cluster. It may be used by several goroutines.
type Projects struct {
	options Options
	roots   []*os.Root
	caches  []*cache // in the order in which names are taken
}

// New opens the roots and places, which must be there. The caller must Close.
func New(o Options) (*Projects, error) {
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.TTL < 0 {
		return nil, fmt.Errorf("keep projects for %v: that is no time", o.TTL)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Kube != nil && o.Namespace == "" {
		o.Namespace = o.Kube.Namespace()
	}
	p := &Projects{options: o}
	for _, dir := range o.Roots {
		root, err := openRoot(dir)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		p.roots = append(p.roots, root)
	}
	for name, dir := range o.Places {
		root, err := openRoot(dir)
		if err == nil {
			err = errors.Join(CheckName(name), root.Close())
		}
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	p.caches = append(p.caches, &cache{ttl: o.TTL, find: p.directories})
	if o.Kube != nil {
		p.caches = append(p.caches, &cache{ttl: o.TTL, find: p.pods})
	}
	return p, nil
}

func openRoot(dir string) (*os.Root, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("projects in %q: that is no absolute path", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("projects in %s: %w", dir, err)
	}
	return root, nil
}

// Close forgets everything, and ends what is being looked at.
func (p *Projects) Close() error {
	for _, c := range p.caches {
		c.close()
	}
	var errs []error
	for _, r := range p.roots {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}

// List gives all projects, those of this machine first. With an error, it gives what it could find.
func (p *Projects) List(ctx context.Context) ([]rdev.Project, error) {
	var all []rdev.Project
	var errs []error
	taken := map[string]bool{}
	for _, c := range p.caches {
		found, err := c.get(ctx)
		if err != nil {
			errs = append(errs, err)
		}
		for _, project := range found {
			if taken[project.Name] {
				p.options.Log.Warn("a project is not listed: another has its name", "name", project.Name, "kind", project.Kind)
				continue
			}
			taken[project.Name] = true
			all = append(all, project)
		}
	}
	return all, errors.Join(errs...)
}

// Get gives one project. The error matches [ErrNotFound] where there is none, and else says why nobody can tell.
func (p *Projects) Get(ctx context.Context, name string) (rdev.Project, error) {
	if err := CheckName(name); err != nil {
		return rdev.Project{}, fmt.Errorf("project %q: %w: %w", shorten(name), ErrNotFound, err)
	}
	var errs []error
	for _, c := range p.caches {
		found, err := c.get(ctx)
		for _, project := range found {
			if project.Name == name {
				return project, nil
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return rdev.Project{}, fmt.Errorf("project %s: %w", name, errors.Join(errs...))
	}
	return rdev.Project{}, fmt.Errorf("project %s: %w", name, ErrNotFound)
}

// Directory is where a command of a project begins that asked for a directory below the project's, "" for that itself. It is
// absolute for a local project, and has been looked at; in a container, nobody looks before the command runs. The error
// matches [fs.ErrNotExist] where there is none, and says so where it would leave the project.
func (p *Projects) Directory(project rdev.Project, below string) (string, error) {
	if below == "" {
		return project.Directory, nil
	}
	if strings.ContainsRune(below, 0) || !filepath.IsLocal(below) {
		return "", fmt.Errorf("directory %q: it is not below the project's", shorten(below))
	}
	if project.Kind == rdev.Pod {
		return path.Join(project.Directory, below), nil
	}
	root, err := os.OpenRoot(project.Directory)
	if err != nil {
		return "", fmt.Errorf("directory of project %s: %w", project.Name, err)
	}
	defer root.Close()
	info, err := root.Stat(below)
	if err != nil {
		return "", fmt.Errorf("directory %q of project %s: %w", shorten(below), project.Name, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("directory %q of project %s: %w", shorten(below), project.Name, errNoDirectory)
	}
	return filepath.Join(project.Directory, below), nil
}

var errNoDirectory = fmt.Errorf("it is no directory: %w", fs.ErrInvalid)

// CheckName says what is wrong with a name, which matches [ErrName].
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return ErrName
	}
	for i, r := range []byte(name) {
		letter := r >= 'a' && r <= 'z' || r >= '0' && r <= '9'
		if !letter && (i == 0 || r != '.' && r != '-' && r != '_') {
			return ErrName
		}
	}
	return nil
}

// NameOf makes a name of that of a directory, for a place that nobody named: with small letters, and dashes for what does not fit.
func NameOf(dir string) string {
	name := []byte(strings.ToLower(filepath.Base(dir)))
	for i, r := range name {
		if CheckName("a"+string(rune(r))) != nil || r >= 0x80 {
			name[i] = '-'
		}
	}
	text := strings.TrimLeft(string(name[:min(len(name), MaxName)]), ".-_")
	if text == "" {
		return "project"
	}
	return text
}

// shorten is a text that somebody sent, for a sentence.
func shorten(s string) string {
	const most = 100
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// Stats are about the listings that are kept now.
type Stats struct {
	// Entries and Bytes are what is held; Looks how often anybody had to look, and Answers how often what was kept did.
	Entries int
	Bytes   int64
	Looks   int64
	Answers int64
}

// Stats tells what is kept.
func (p *Projects) Stats() Stats {
	var s Stats
	for _, c := range p.caches {
		c.mu.Lock()
		if c.kept != nil {
			s.Entries += len(c.kept.projects)
			s.Bytes += c.kept.bytes
		}
		s.Looks += c.looks
		s.Answers += c.answers
		c.mu.Unlock()
	}
	return s
}
