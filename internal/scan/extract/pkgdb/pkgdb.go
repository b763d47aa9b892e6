// Package pkgdb is what the readers of the distributions' package databases
// (dpkg, apk, rpm, pacman, os-release) share: [Root] finds a database at its usual place below
// any root directory, [Lines] reads text in fixed memory, [Record] builds one package after another.
//
// A root is the directory that a database describes: the image's own root, or
// that of a system inside the image, such as a chroot. Names are only unique
// below one root, so that dependency keys of other roots carry the root.
//
// Hazard: everything here is fed by untrusted files. A line, the keys of one
// package and the length of one key are bounded; what goes beyond is counted
// and said, never dropped silently.
package pkgdb

import "strings"

// Root reports whether path is database, a path relative to a root such as
// "var/lib/dpkg/status", below some root, and which root: "" for the
// image's own. It does not allocate.
func Root(path, database string) (root string, ok bool) {
	if !strings.HasSuffix(path, database) {
		return "", false
	}
	root = path[:len(path)-len(database)]
	if root == "" {
		return "", true
	}
	if root[len(root)-1] != '/' {
		return "", false
	}
	return root[:len(root)-1], true
}

// Split cuts the last component off a path: "a/b/c" gives "a/b" and "c".
func Split(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}
