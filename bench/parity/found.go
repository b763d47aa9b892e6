package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// found is one package of one tool.
type found struct {
	key    string
	purl   string // as the tool writes it, one of them where there are several
	places []string
}

// list is what one tool finds, by key.
type list map[string]*found

// add notes a package in its places.
func (l list) add(purl string, places ...string) {
	key := keyOf(purl)
	f := l[key]
	if f == nil {
		f = &found{key: key, purl: purl}
		l[key] = f
	}
	for _, p := range places {
		if !slices.Contains(f.places, p) {
			f.places = append(f.places, p)
		}
	}
}

// descriptors ends the place of a descriptor that scalibr found in an archive.
const descriptors = "!/META-INF/maven"

// at returns the packages by place, and those of descriptors in an archive by its place with [descriptors].
func (l list) at() map[string][]*found {
	m := map[string][]*found{}
	for _, f := range l {
		for _, p := range f.places {
			m[p] = append(m[p], f)
			if i := strings.Index(p, descriptors); i >= 0 {
				m[p[:i]+descriptors] = append(m[p[:i]+descriptors], f)
			}
		}
	}
	return m
}

// kind is the type of the package URL.
func (f *found) kind() string {
	kind, _, _ := strings.Cut(f.key, ":")
	return kind
}

// version is what follows the last "@" of the key, if anything does.
func (f *found) version() string {
	_, version := cutVersion(f.key)
	return version
}

// artifact is the key's name without namespace.
func (f *found) artifact() string {
	_, name, _ := strings.Cut(f.key, ":")
	name, _ = cutVersion(name)
	return name[strings.LastIndexByte(name, '/')+1:]
}

func cutVersion(key string) (name, version string) {
	if i := strings.LastIndexByte(key, '@'); i > strings.LastIndexByte(key, '/') && i > 0 {
		return key[:i], key[i+1:]
	}
	return key, ""
}

// writeList writes a list as the tests keep it: a line for each package, its
// package URL and its places, separated by tabs.
func writeList(w io.Writer, l list) error {
	b := bufio.NewWriter(w)
	for _, key := range slices.Sorted(maps.Keys(l)) {
		f := l[key]
		slices.Sort(f.places)
		fmt.Fprintln(b, strings.Join(append([]string{f.purl}, f.places...), "\t"))
	}
	return b.Flush()
}

func readList(r io.Reader) (list, error) {
	l := list{}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20) // a package with a thousand places
	for s.Scan() {
		fields := strings.Split(s.Text(), "\t")
		l.add(fields[0], fields[1:]...)
	}
	return l, s.Err()
}
