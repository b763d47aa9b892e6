package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stella/bench/images"
)

// wellNamed is how many archives of medium Stella must name right; see docs/parity.md.
const wellNamed = 511

// The links of Debian's Maven repository say of 549 archives of medium, independently of all
// three tools, what group id and artifact id they have.
func TestNamesOfDebiansArchives(t *testing.T) {
	if !*medium {
		t.Skip("capability time: medium takes minutes; -medium allows them")
	}
	dir, err := images.DefaultDir()
	if err != nil {
		t.Skipf("capability bench: %v", err)
	}
	root := filepath.Join(dir, "roots", "debian")
	layout := filepath.Join(dir, "images", string(images.Medium))
	names, err := repositoryLinks(root)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("capability bench image: %v; make medium with bench/mkimage", err)
	} else if err != nil {
		t.Fatal(err)
	}
	ours, err := scanImage(t.Context(), layout)
	if err != nil {
		t.Fatal(err)
	}
	if right := countRight(ours, names); right < wellNamed {
		t.Errorf("Stella names %d of %d archives right; before it was %d", right, len(names), wellNamed)
	}
	for _, tool := range tools {
		if document := documentOf(dir, layout, tool); fresh(document, layout) {
			l, err := readDocumentFile(document)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s names %d of %d archives right", tool, countRight(l, names), len(names))
		}
	}
	t.Logf("Stella names %d right", countRight(ours, names))
}

// countRight counts the archives in which a tool places a package with one of their names.
func countRight(l list, names map[string]map[string]bool) (right int) {
	named := map[string]bool{}
	for _, f := range l {
		name, _ := cutVersion(strings.TrimPrefix(f.key, "maven:"))
		for _, p := range f.places {
			place, member, _ := strings.Cut(p, "!/")
			if names[place][name] && !archive.MatchString(member+"/") { // not an archive in the archive
				named[place] = true
			}
		}
	}
	return len(named)
}

// repositoryLinks returns the names, "group/artifact" in small letters, that the links below usr/share/maven-repo give to
// the archives they lead to, by the path of the archive in the root.
func repositoryLinks(root string) (map[string]map[string]bool, error) {
	repo := filepath.Join(root, "usr", "share", "maven-repo")
	names := map[string]map[string]bool{}
	err := filepath.WalkDir(repo, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".jar" {
			return err
		}
		target, err := follow(root, path)
		if err != nil || target == "" {
			return err
		}
		dir, err := filepath.Rel(repo, filepath.Dir(filepath.Dir(path)))
		if err != nil {
			return err
		}
		group, artifact := filepath.Split(dir)
		name := strings.ToLower(strings.ReplaceAll(strings.Trim(group, "/"), "/", ".") + "/" + artifact)
		if names[target] == nil {
			names[target] = map[string]bool{}
		}
		names[target][name] = true
		return nil
	})
	return names, err
}

// follow returns the file that a chain of links ends at, relative to root; empty where there is none.
func follow(root, path string) (string, error) {
	for range 8 {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		} else if err != nil {
			return "", err
		}
		if info.Mode().IsRegular() {
			return filepath.Rel(root, path)
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(to) {
			path = filepath.Join(root, to)
		} else {
			path = filepath.Join(filepath.Dir(path), to)
		}
	}
	return "", nil
}
