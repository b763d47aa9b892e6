//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"
)

// mode is one way to misbehave.
type mode struct {
	name  string
	about string // one line
	more  string // the rest of its help
	// declare adds the arguments and flags of the mode, and returns what runs
	// it when they have been parsed.
	declare func(p *parameters) runner
}

// runner does what a mode does. Its error is an exitCode, toldToEnd, or what failed.
type runner func(h *hog) error

// modes are in the order of the help.
var modes = slices.Concat(plainModes, memoryModes, childModes, fileModes, connectionModes)

// parameters are the arguments and flags of one mode.
type parameters struct {
	flags     *flag.FlagSet
	arguments []argument
	check     func() error // of the values together; nil where any will do
}

// argument is a value that is told by its place.
type argument struct {
	name  string
	value flag.Value
}

func (p *parameters) argument(name string, v flag.Value) {
	p.arguments = append(p.arguments, argument{name, v})
}

// size adds a size as an argument.
func (p *parameters) size() *size {
	var s size
	p.argument("SIZE", &s)
	return &s
}

// duration adds a flag for a time that is not shorter than least.
func (p *parameters) duration(name string, value, least time.Duration, usage string) *duration {
	d := duration{value, least}
	p.flags.Var(&d, name, usage)
	return &d
}

// parse returns what runs the mode that the arguments name. Its errors are
// helpText, or a sentence about the misuse.
func parse(args []string) (runner, settings, error) {
	if len(args) == 0 {
		return nil, settings{}, errors.New("hog: which mode? See hog --help")
	}
	if slices.Contains([]string{"--help", "-help", "-h"}, args[0]) {
		return nil, settings{}, overview()
	}
	at := slices.IndexFunc(modes, func(m mode) bool { return m.name == args[0] })
	if at < 0 {
		return nil, settings{}, fmt.Errorf("hog: there is no mode %q; see hog --help", args[0])
	}
	m := modes[at]
	p := &parameters{flags: flag.NewFlagSet(m.name, flag.ContinueOnError)}
	p.flags.SetOutput(io.Discard)
	start := m.declare(p)
	common := p.common()
	if err := p.parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return nil, settings{}, p.help(m)
	} else if err != nil {
		return nil, settings{}, fmt.Errorf("hog %s: %w; see hog %s --help", m.name, err, m.name)
	}
	return start, common(), nil
}

// common adds the flags that every mode has; the function returns their values.
func (p *parameters) common() func() settings {
	name := word(defaultName)
	p.flags.Var(&name, "name", "begin lines with this `WORD`; the kernel logs its first 15 bytes as the name of the process")
	ignore := p.flags.Bool("ignore-term", false, "go on after SIGTERM, so that SIGKILL is needed")
	repeat := p.duration("print", 0, 0, "repeat the newest line whenever this `TIME` has passed; 0s: never")
	return func() settings { return settings{string(name), *ignore, repeat.Duration} }
}

// parse sets the values. Flags may stand before, between and behind the arguments.
func (p *parameters) parse(args []string) error {
	given := 0
	for {
		if err := p.flags.Parse(args); err != nil {
			return err
		}
		args = p.flags.Args()
		if len(args) == 0 {
			break
		}
		if given == len(p.arguments) {
			return fmt.Errorf("%q is one argument too many", args[0])
		}
		a := p.arguments[given]
		if err := a.value.Set(args[0]); err != nil {
			return fmt.Errorf("invalid value %q for %s: %w", args[0], a.name, err)
		}
		args = args[1:]
		given++
	}
	if given < len(p.arguments) {
		return fmt.Errorf("%s is missing", p.arguments[given].name)
	}
	if p.check != nil {
		return p.check()
	}
	return nil
}
