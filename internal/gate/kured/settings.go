package kured

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings are what matters here of kured's flags.
type settings struct {
	sentinel, command string
	period            time.Duration
	port              int
}

// switches are the flags of kured that take no value from the next word.
var switches = map[string]bool{"force-reboot": true, "alert-firing-only": true, "alert-filter-match-only": true, "annotate-nodes": true}

// read reads the settings of a container of kured. An error says that they cannot be known, or that kured would not start with them.
func read(c *container) (settings, error) {
	flags, err := flagsOf(c)
	if err != nil {
		return settings{}, err
	}
	if len(c.EnvFrom) > 0 {
		return settings{}, errors.New("it has variables from elsewhere (envFrom), which could set any flag: name those that it needs one by one")
	}
	s := settings{sentinel: "/var/run/reboot-required", period: time.Hour, port: 8080}
	for _, f := range []struct {
		name string
		set  func(string) error
	}{
		{"reboot-sentinel", func(v string) error { s.sentinel = v; return nil }},
		{"reboot-sentinel-command", func(v string) error { s.command = v; return nil }},
		{"period", func(v string) (err error) { s.period, err = time.ParseDuration(v); return err }},
		{"metrics-port", func(v string) (err error) { s.port, err = port(v); return err }},
	} {
		value, given, err := lookup(c, flags, f.name)
		if err == nil && given {
			err = f.set(value)
		}
		if err != nil {
			return settings{}, fmt.Errorf("its --%s: %w", f.name, err)
		}
	}
	if s.command != "" && strings.TrimSpace(s.command) == "" {
		return settings{}, errors.New("its --reboot-sentinel-command is blank")
	}
	return s, nil
}

func port(v string) (int, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	return int(n), err
}

// flagsOf are the flags with their last values, as package pflag reads them: --name=value, --name value, and -- ends them.
func flagsOf(c *container) (map[string]string, error) {
	words := append(c.Command[:len(c.Command):len(c.Command)], c.Args...)
	if len(c.Command) > 0 {
		if path.Base(words[0]) != "kured" {
			return nil, fmt.Errorf("it starts %q and not kured, so that nobody knows kured's flags", words[0])
		}
		words = words[1:]
	}
	flags := map[string]string{}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		name, isFlag := strings.CutPrefix(word, "--")
		if word == "--" {
			break
		}
		name, value, whole := strings.Cut(name, "=")
		switch {
		case references(name):
			return nil, fmt.Errorf("its argument %q could become any flag", word)
		case !isFlag && strings.HasPrefix(word, "-") && word != "-":
			return nil, fmt.Errorf("its argument %q is none that kured takes", word)
		case !isFlag:
			continue // kured leaves other words alone
		case !whole && switches[name]:
			value = "true"
		case !whole && len(words) == 0:
			return nil, fmt.Errorf("its argument %q has no value", word)
		case !whole:
			value, words = words[0], words[1:]
		}
		flags[name] = value
	}
	return flags, nil
}

// lookup is the value of a flag, from the command line or from its variable.
func lookup(c *container, flags map[string]string, name string) (value string, given bool, err error) {
	value, given = flags[name]
	variable := "KURED_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for _, e := range c.Env {
		switch {
		case e.Name != variable:
			continue
		case e.ValueFrom != nil:
			return "", false, fmt.Errorf("the variable %s is not in the pod, but somewhere else", variable)
		case e.Value == "":
			return "", false, fmt.Errorf("the variable %s is empty, which only some versions of kured take for a value", variable)
		case given && e.Value != value:
			return "", false, fmt.Errorf("it is %q, and the variable %s is %q: which counts depends on the version of kured", value, variable, e.Value)
		}
		value, given = e.Value, true
	}
	if references(value) {
		return "", false, fmt.Errorf("%q has a reference to a variable: write out what it is", value)
	}
	return value, given, nil
}

// references reports whether Kubernetes may replace something in a text: $(NAME), or $$, which it makes $.
func references(text string) bool {
	return strings.Contains(text, "$(") || strings.Contains(text, "$$")
}

// defaultGated is what kured-sentinel-gate takes for --gated-file where it is not given.
const defaultGated = "/var/run/gated-reboot-required"

// commandAsks is the host path that a command of kured asks for, or that it is the gate itself, with --once first. kured runs it among the host's mounts. Only what is
// plain is understood: a shell can do anything, and a program that prints its help may end with 0, which would be a wish.
func commandAsks(command string) (hostPath string, us bool) {
	if strings.ContainsAny(command, "\"'\\#") {
		return "", false
	}
	words := append(strings.Fields(command), "", "")
	switch program, first := path.Base(words[0]), words[1]; {
	case program == "kured-sentinel-gate" && first == "--once":
		return "", !slices.ContainsFunc(words, asksForHelp)
	case program == "kured-sentinel-gate" && first == "granted":
		return grantedAsks(words[2 : len(words)-2]), false
	case program == "test" && (first == "-f" || first == "-e") && len(words) == 5 && plain(words[2]):
		return words[2], false
	}
	return "", false
}

func asksForHelp(word string) bool {
	return slices.Contains([]string{"h", "help", "version"}, strings.TrimLeft(word, "-"))
}

// grantedAsks is the file that kured-sentinel-gate granted asks for with these flags, "" where they have more than its name.
func grantedAsks(flags []string) string {
	file, given := strings.CutPrefix(strings.Join(flags, "="), "--gated-file=")
	switch {
	case len(flags) == 0:
		return defaultGated
	case !given || len(flags) > 2 || !plain(file) || strings.Contains(file, "="):
		return ""
	}
	return file
}

// plain reports whether a path is absolute and as short as it can be, so that names show what it leads to.
func plain(name string) bool { return path.IsAbs(name) && path.Clean(name) == name && name != "/" }
