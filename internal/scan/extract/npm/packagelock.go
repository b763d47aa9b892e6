package npm

import (
	"context"
	"fmt"
	"io"
	"strings"

	"stella/internal/jsonstream"
)

// maxNesting is how deep the dependencies of a lockfile of version 1 may be
// nested. Each level is a level of node_modules directories.
const maxNesting = 64

// packageLock is a package-lock.json or npm-shrinkwrap.json being read
// (https://docs.npmjs.com/cli/configuring-npm/package-lock-json). Version 1 has a tree in "dependencies", version 3
// a list by path in "packages", version 2 both.
type packageLock struct {
	*declared
	json     *jsonstream.Decoder
	packages bool // "packages" was read: "dependencies" says the same with less detail
	tooDeep  int
}

func readPackageLock(ctx context.Context, r io.Reader, d *declared) error {
	l := packageLock{declared: d}
	return jsonstream.Decode(ctx, r, func(json *jsonstream.Decoder) error {
		defer func() {
			reportOverlong(d.out, json.Overlong())
			if l.tooDeep > 0 {
				d.out.Partial(fmt.Sprintf("%d dependencies nested more than %d deep are left out", l.tooDeep, maxNesting))
			}
		}()
		l.json = json
		if json.Kind() != jsonstream.Object {
			return fmt.Errorf("a lockfile is an object, this is %v", json.Kind())
		}
		return json.Object(func(key string) error {
			switch {
			case json.Kind() != jsonstream.Object:
			case key == "packages":
				l.packages = true
				return json.Object(l.entry)
			case key == "dependencies" && !l.packages:
				return json.Object(func(name string) error { return l.nested("", name, 0) })
			}
			return nil
		})
	})
}

// entry reads a member of "packages": path is where npm would install it, empty for the project itself.
func (l *packageLock) entry(path string) error {
	if l.json.Kind() != jsonstream.Object {
		return nil
	}
	name := ""
	if i := strings.LastIndex("/"+path, "/node_modules/"); i >= 0 {
		name = path[i+len("node_modules/"):]
	}
	if len(path) > maxDir {
		l.out.Partial(deepDir)
	} else {
		l.set.Provide(l.prefix + path)
	}
	var version, license string
	var skip bool // only for development, or a link to another entry
	err := l.json.Object(func(key string) (err error) {
		switch key {
		case "name": // an alias, or a package of the project
			var real string
			if real, err = l.json.Text(); real != "" {
				name = real
			}
		case "version":
			version, err = l.json.Text()
		case "license":
			license, err = l.json.Text()
		case "dev", "link":
			var on bool
			on, err = l.flag()
			skip = skip || on
		case "dependencies", "optionalDependencies", "peerDependencies":
			return l.requires(path)
		}
		return err
	})
	if skip {
		version = ""
	}
	if err != nil {
		l.set.Reset()
		return err
	}
	return l.give(name, version, license)
}

// nested reads a member of "dependencies" in version 1, below the package at parent.
func (l *packageLock) nested(parent, name string, level int) error {
	if l.json.Kind() != jsonstream.Object {
		return nil
	}
	if level == maxNesting {
		l.tooDeep++
		return nil
	}
	path := "node_modules/" + name
	if parent != "" {
		path = parent + "/" + path
	}
	l.set.Reset()
	if len(path) > maxDir {
		l.out.Partial(deepDir)
	} else {
		l.set.Provide(l.prefix + path)
	}
	var version string
	var dev bool
	give := func() error {
		real, v := alias(name, version)
		version = ""
		return l.give(real, v, "")
	}
	err := l.json.Object(func(key string) (err error) {
		switch key {
		case "version":
			version, err = l.json.Text()
		case "dev":
			dev, err = l.flag()
		case "requires":
			return l.requires(path)
		case "dependencies":
			if dev || l.json.Kind() != jsonstream.Object {
				return nil // what only a development dependency needs is one too
			}
			// What is nested would mix its keys with ours: we are given first.
			if err := give(); err != nil {
				return err
			}
			return l.json.Object(func(name string) error { return l.nested(path, name, level+1) })
		}
		return err
	})
	if err != nil || dev {
		l.set.Reset()
		return err
	}
	return give()
}

// alias takes the version "npm:name@1.2.3" of version 1 apart. Directories of
// the project ("file:…") have no version.
func alias(name, version string) (string, string) {
	if strings.HasPrefix(version, "file:") || strings.HasPrefix(version, "link:") {
		return name, ""
	}
	if rest, ok := strings.CutPrefix(version, "npm:"); ok {
		if i := strings.LastIndexByte(rest, '@'); i > 0 {
			return rest[:i], rest[i+1:]
		}
	}
	return name, version
}

func (l *packageLock) flag() (bool, error) {
	if l.json.Kind() != jsonstream.Bool {
		return false, nil
	}
	return l.json.Bool()
}

func (l *packageLock) requires(path string) error {
	if l.json.Kind() != jsonstream.Object || len(path) > maxDir {
		return nil // "requires": true says that the file has them
	}
	return l.json.Object(func(name string) error {
		resolve(&l.set, l.prefix, path, name)
		return nil
	})
}
