package rdev

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The bounds of parts of a request, in bytes.
const (
	maxDirectory = 4096 // PATH_MAX
	maxURL       = 2048
	maxName      = 253 // a pod's, which is longer than a directory's on most disks
)

var (
	projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)
	variable    = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// CheckProject finds what is wrong with the name of a project: what passes is one plain path element.
func CheckProject(name string) error {
	if len(name) > maxName || !projectName.MatchString(name) {
		return Errorf(ErrInvalid, "%.100q is no name of a project: small letters, digits, dots, dashes and underscores, a letter or digit first, at most %d", name, maxName)
	}
	return nil
}

// Check finds what is wrong with a request, whatever the service's own limits are.
func (r Request) Check() error {
	for _, check := range []func() error{r.checkProgram, r.checkDirectory, r.checkEnvironment, r.checkNumbers, r.checkWebhook} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (r Request) checkProgram() error {
	switch {
	case len(r.Argv) == 0 && r.Shell == "":
		return Errorf(ErrInvalid, "the request names no program: give argv, or a shell line")
	case len(r.Argv) > 0 && r.Shell != "":
		return Errorf(ErrInvalid, "the request has both argv and a shell line: give one of them")
	case len(r.Argv) > MaxArguments:
		return Errorf(ErrInvalid, "argv has %d arguments; at most %d", len(r.Argv), MaxArguments)
	case len(r.Argv) > 0 && r.Argv[0] == "":
		return Errorf(ErrInvalid, "the program's name, the first of argv, is empty")
	case len(r.Stdin) > MaxStdin:
		return Errorf(ErrInvalid, "stdin has %d bytes; at most %d", len(r.Stdin), MaxStdin)
	}
	for i, a := range r.Argv {
		if !argument(a) {
			return Errorf(ErrInvalid, "argument %d of argv is not text without NUL of at most %d bytes", i, MaxArgument)
		}
	}
	if !argument(r.Shell) {
		return Errorf(ErrInvalid, "the shell line is not text without NUL of at most %d bytes", MaxArgument)
	}
	return nil
}

// argument reports whether Linux takes s as an argument, and JSON keeps it as it is.
func argument(s string) bool {
	return len(s) < MaxArgument && utf8.ValidString(s) && !strings.Contains(s, "\x00")
}

// checkDirectory refuses what leaves the project by name; what leaves it by symbolic links, who opens it finds out.
func (r Request) checkDirectory() error {
	d := r.Directory
	if d == "" {
		return nil
	}
	clean := path.Clean(d)
	if len(d) > maxDirectory || !argument(d) || path.IsAbs(d) || clean == ".." || strings.HasPrefix(clean, "../") {
		return Errorf(ErrInvalid, "%.100q is no directory of a project: write it relative to the project's, without leaving it", d)
	}
	return nil
}

func (r Request) checkEnvironment() error {
	if len(r.Env) > MaxEnvironment {
		return Errorf(ErrInvalid, "the environment has %d variables; at most %d", len(r.Env), MaxEnvironment)
	}
	for name, value := range r.Env {
		if len(name) >= MaxArgument || !variable.MatchString(name) {
			return Errorf(ErrInvalid, "%.100q is no name of an environment variable: letters, digits and underscores, no digit first", name)
		}
		if !argument(value) || len(name)+1+len(value) >= MaxArgument {
			return Errorf(ErrInvalid, "the value of the environment variable %s is not text without NUL of at most %d bytes, with its name", name, MaxArgument)
		}
	}
	return nil
}

func (r Request) checkNumbers() error {
	switch {
	case r.Timeout < 0:
		return Errorf(ErrInvalid, "the timeout %v is negative", r.Timeout)
	case r.Timeout > MaxTimeout:
		return Errorf(ErrInvalid, "the timeout %v is too long: at most %v", r.Timeout, MaxTimeout)
	case r.Memory < 0:
		return Errorf(ErrInvalid, "the memory limit of %d bytes is negative", r.Memory)
	case r.Output < 0:
		return Errorf(ErrInvalid, "the output limit of %d bytes is negative", r.Output)
	}
	return nil
}

func (r Request) checkWebhook() error {
	if r.Webhook == "" {
		return nil
	}
	u, err := url.Parse(r.Webhook)
	if err != nil || len(r.Webhook) > maxURL || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return Errorf(ErrInvalid, "the webhook must be an https or http URL with a host, without user, password or fragment, of at most %d bytes", maxURL)
	}
	return nil
}

// Hidden stands for the value of an environment variable where a request is told.
const Hidden = "(hidden)"

// Shown is the request as it is told and kept after the end: without what is often secret, which are stdin, the values
// of the environment, and the path of the webhook.
func (r Request) Shown() Request {
	r.Stdin = nil
	if r.Env != nil {
		names := make(map[string]string, len(r.Env))
		for name := range r.Env {
			names[name] = Hidden
		}
		r.Env = names
	}
	if u, err := url.Parse(r.Webhook); err == nil && r.Webhook != "" {
		r.Webhook = u.Scheme + "://" + u.Host
	}
	return r
}
