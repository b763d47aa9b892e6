package npm

import (
	"context"
	"fmt"
	"io"
	"strings"

	"stella/internal/lines"
)

// readYarn reads a yarn.lock. Both generations are blocks of indented lines:
//
//	"@babel/core@^7.1.0", "@babel/core@^7.7.5":     # berry: one string, "@babel/core@npm:^7.1.0, …"
//	  version "7.16.7"                              # berry: version: 7.16.7
//	  dependencies:
//	    "@babel/types" "^7.16.7"                    # berry: "@babel/types": "npm:^7.16.7"
//
// The first line are the descriptors (name and range) that led to the package, so that
// they are what a dependency requires.
func readYarn(ctx context.Context, r io.Reader, d *declared) error {
	in := lines.New(ctx, r)
	defer in.Close()
	y := yarnBlock{declared: d}
	for in.Next() {
		if in.Long() {
			d.out.Partial(fmt.Sprintf("line %d is longer than %d KiB", in.Number(), lines.Max>>10))
		}
		line := string(in.Bytes())
		indent := len(line) - len(strings.TrimLeft(line, " "))
		line = line[indent:]
		switch {
		case line == "" || line[0] == '#' || line == ":":
		case indent == 0:
			if err := y.finish(); err != nil {
				return err
			}
			y.start(line)
		case indent == 2:
			y.field(line)
		case y.dependencies:
			name, rng := pair(line)
			d.set.Require(d.prefix + descriptor(name, rng))
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return y.finish()
}

// yarnBlock is one block being read.
type yarnBlock struct {
	*declared
	name, version string
	soft          bool // part of the project itself
	dependencies  bool // the lines that follow are dependencies
}

// start takes the line of descriptors. A very long one is written as "? key", its colon on the next line.
func (y *yarnBlock) start(line string) {
	line = strings.TrimSuffix(strings.TrimPrefix(line, "? "), ":")
	line = strings.ReplaceAll(line, `"`, "")
	for spec := range strings.SplitSeq(line, ", ") {
		name, rng := splitDescriptor(spec)
		if name == "" {
			continue // __metadata
		}
		if y.name == "" {
			y.name = name
			if real, ok := strings.CutPrefix(rng, "npm:"); ok {
				if n, _ := splitDescriptor(real); n != "" {
					y.name = n // an alias
				}
			}
		}
		y.set.Provide(y.prefix + descriptor(name, rng))
	}
}

func (y *yarnBlock) field(line string) {
	y.dependencies = false
	key, value := pair(line)
	switch key {
	case "version":
		y.version = value
	case "resolution":
		if name, _ := splitDescriptor(value); name != "" {
			y.name = name
		}
	case "linkType":
		y.soft = value == "soft"
	case "dependencies", "optionalDependencies":
		y.dependencies = true
	}
}

func (y *yarnBlock) finish() error {
	if y.soft {
		y.name = ""
	}
	err := y.give(y.name, y.version, "")
	*y = yarnBlock{declared: y.declared}
	return err
}

// splitDescriptor splits "@scope/name@range".
func splitDescriptor(s string) (name, rng string) {
	if len(s) < 2 {
		return "", ""
	}
	i := strings.IndexByte(s[1:], '@')
	if i < 0 {
		return "", ""
	}
	return s[:i+1], s[i+2:]
}

// descriptor is a descriptor as a key: the protocol that berry writes since
// version 4, in some places and not in others, is left out.
func descriptor(name, rng string) string { return name + "@" + strings.TrimPrefix(rng, "npm:") }

// pair splits `key "value"` and `"key": value`.
func pair(line string) (key, value string) {
	if rest, ok := strings.CutPrefix(line, `"`); ok {
		key, value, _ = strings.Cut(rest, `"`)
		value = strings.TrimPrefix(value, ":")
	} else if i := strings.IndexAny(line, ": "); i >= 0 {
		key, value = line[:i], line[i+1:]
	} else {
		key = line
	}
	return key, strings.Trim(strings.TrimSpace(value), `"`)
}
