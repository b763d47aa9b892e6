package scan

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"stella/internal/scan/extract"
	"stella/internal/scan/fragment"
	"stella/internal/scan/image"
)

// Distributions move their package database and leave a symbolic link at the
// old place, which may be in another layer than the database. An extractor
// knows the old place only. So, with all fragments there, the links on the way to each
// known place are followed, over all layers; where they lead to files that nobody wanted by their own name,
// the layers with these files are read again for them.

const (
	// maxHops is how many links the kernel follows before it says ELOOP (MAXSYMLINKS in namei.h).
	maxHops = 40
	// maxPlaces bounds the paths that are looked up at once: the known places, their parents, and what links add.
	maxPlaces = 4096
)

// place is the last thing that the layers say about a path.
type place struct {
	time   uint64
	target string // where it is a symbolic link
}

// database is a known place that leads somewhere else.
type database struct {
	extractor int
	// known is the place the extractor knows, real where its files are. Directories end in a slash.
	known, real string
}

// databases finds the known places that are reached through links.
func (e *engine) databases(ctx context.Context) ([]database, error) {
	var dbs []database
	for i, x := range e.extractors {
		if d, ok := x.(extract.Databases); ok {
			for _, p := range d.Databases() {
				dbs = append(dbs, database{extractor: i, known: p})
			}
		}
	}
	places := map[string]*place{}
	for {
		unknown := false
		for i := range dbs {
			real, more := resolve(dbs[i].known, places)
			dbs[i].real = real
			unknown = unknown || more
		}
		if !unknown {
			break
		}
		if len(places) > maxPlaces {
			return nil, fmt.Errorf("following symbolic links to package databases led to more than %d paths", maxPlaces)
		}
		if err := e.lookUp(ctx, places); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(dbs, func(d database) bool { return d.real == "" || d.real == d.known }), nil
}

// resolve follows the links on the way to p. A path that places does not have yet is added, and makes the
// result "not yet known". A loop resolves to "".
func resolve(p string, places map[string]*place) (real string, unknown bool) {
	slash := strings.HasSuffix(p, "/")
	rest := strings.Split(strings.Trim(p, "/"), "/")
	at := ""
	for hops := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		pl := places[next]
		if pl == nil {
			// Most likely no link follows: ask for the whole way at once.
			places[next] = new(place)
			for _, part := range rest {
				if next = path.Join(next, part); places[next] == nil {
					places[next] = new(place)
				}
			}
			return "", true
		}
		if pl.target == "" {
			at = next
			continue
		}
		if hops++; hops > maxHops {
			return "", false
		}
		target := pl.target
		if !strings.HasPrefix(target, "/") {
			target = path.Join("/", path.Dir(next), target)
		}
		// Clean confines ".." to the root, as a container's root does.
		rest = append(strings.Split(strings.Trim(path.Clean(target), "/"), "/"), rest...)
		at = ""
	}
	if slash {
		at += "/"
	}
	return at, false
}

// lookUp finds the latest word of the layers on every place.
func (e *engine) lookUp(ctx context.Context, places map[string]*place) error {
	for _, p := range places {
		*p = place{}
	}
	for i := range e.layers {
		src, _, ok := e.store.open(e.keys[i])
		if !ok {
			return fmt.Errorf("%s: %w", e.layers[i], errGone)
		}
		n := 0
		err := reread(src, fragment.Paths, func(r *fragment.Record) (bool, error) {
			if n++; n%(1<<14) == 0 && ctx.Err() != nil {
				return false, ctx.Err()
			}
			switch r.Kind {
			case fragment.Dir, fragment.File, fragment.Symlink:
				if p := places[string(r.Path)]; p != nil {
					*p = place{time: uint64(i)<<40 | r.Seq, target: string(r.Target)}
				}
			case fragment.Whiteout, fragment.Opaque:
				forget(places, string(r.Path), uint64(i)<<40, r.Kind == fragment.Whiteout)
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// forget applies a whiteout to what lower layers said.
func forget(places map[string]*place, gone string, time uint64, self bool) {
	for at, p := range places {
		below := gone == "" || strings.HasPrefix(at, gone+"/")
		if (below || self && at == gone) && p.time < time {
			*p = place{}
		}
	}
}

// alias is the known place of a path, if it is one that links lead to and that nobody wanted by its own name.
func (e *engine) alias(dbs []database, en entry) (x int, known string) {
	for _, d := range dbs {
		name, ok := strings.CutPrefix(en.path, d.real)
		if !ok || name != "" && !strings.HasSuffix(d.known, "/") {
			continue
		}
		h := extract.Header{Path: d.known + name, Size: en.size, Mode: en.mode}
		own := extract.Header{Path: en.path, Size: en.size, Mode: en.mode}
		if e.wanted(h) == d.extractor && e.wanted(own) != d.extractor {
			return d.extractor, h.Path
		}
	}
	return -1, ""
}

// databaseKeys makes the fragments of databases behind links, and returns the keys by layer index. Layers without such files have none.
func (e *engine) databaseKeys(ctx context.Context) (map[int]string, error) {
	dbs, err := e.databases(ctx)
	if err != nil || len(dbs) == 0 {
		return nil, err
	}
	slices.SortFunc(dbs, func(a, b database) int {
		return cmp.Or(cmp.Compare(a.real, b.real), cmp.Compare(a.known, b.known))
	})
	id := make([]string, 0, len(dbs))
	for _, d := range dbs {
		id = append(id, d.real+"\x00"+d.known)
	}
	suffix := "-databases-" + hashKey(id...)[:16]
	made := map[string]bool{}
	keys := map[int]string{}
	for i := range e.layers {
		has, err := e.hasAlias(dbs, e.keys[i])
		if err != nil {
			return nil, err
		}
		if !has {
			continue
		}
		key := e.keys[i] + suffix
		keys[i] = key
		if made[key] {
			continue
		}
		made[key] = true
		if _, _, ok := e.store.open(key); ok {
			continue
		}
		if err := e.readDatabases(ctx, e.layers[i], key, dbs); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (e *engine) hasAlias(dbs []database, key string) (has bool, err error) {
	src, _, ok := e.store.open(key)
	if !ok {
		return false, errGone
	}
	err = reread(src, fragment.Paths, func(r *fragment.Record) (bool, error) {
		if r.Kind == fragment.File {
			x, _ := e.alias(dbs, entry{path: string(r.Path), size: 1})
			has = x >= 0
		}
		return !has, nil
	})
	return has, err
}

func (e *engine) readDatabases(ctx context.Context, l *image.Layer, key string, dbs []database) error {
	e.monitor.total.Add(max(l.Size, 0))
	return e.write(ctx, l, key, func(p *pass) error {
		seq := uint64(0)
		_, err := e.walk(ctx, l, func(en entry, open content) error {
			p.act.entries.Add(1)
			if en.kind.IsEntry() {
				seq++
			}
			if !en.regular {
				return nil
			}
			x, known := e.alias(dbs, en)
			if x < 0 {
				return nil
			}
			return p.extract(x, extract.Header{Path: known, Size: en.size, Mode: en.mode}, en.path, seq, open)
		}, func(string, string) {})
		if err != nil {
			return err
		}
		_, err = p.w.Close(0, 0, 0)
		return err
	})
}
