package images

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"stella/bench/ociwrite"
)

const (
	// mediumJars is how many jars (regular files) the medium image has in all:
	// those of the Debian packages, and copies in the lib directories of
	// services, where applications keep theirs.
	mediumJars = 1750
	// maxCopiedJar keeps the copies small next to the rest, in bytes.
	maxCopiedJar = 256 << 10
)

// small is debootstrap's minbase in one layer.
func (s Store) small(ctx context.Context, w *ociwrite.Writer) (string, error) {
	root, err := s.smallRoot(ctx)
	if err != nil {
		return "", err
	}
	return "", layer(w, func(l *ociwrite.Layer) error { return addTree(l, root, "", nil) })
}

// medium is small and three layers: Debian packages, a Node application, and Go
// programs with Java services.
func (s Store) medium(ctx context.Context, w *ociwrite.Writer) (string, error) {
	base, err := s.Build(ctx, Small)
	if err != nil {
		return "", err
	}
	if _, err := w.Reuse(base.Path); err != nil {
		return "", err
	}
	small, err := s.smallRoot(ctx)
	if err != nil {
		return "", err
	}
	debian, err := s.debianRoot(ctx)
	if err != nil {
		return "", err
	}
	node, err := s.nodeRoot(ctx)
	if err != nil {
		return "", err
	}
	programs, err := s.goRoot(ctx)
	if err != nil {
		return "", err
	}
	if err := layer(w, func(l *ociwrite.Layer) error { return addDiff(l, small, debian) }); err != nil {
		return "", err
	}
	if err := layer(w, func(l *ociwrite.Layer) error { return addTree(l, node, "srv/app/", nil) }); err != nil {
		return "", err
	}
	return "", layer(w, func(l *ociwrite.Layer) error {
		return errors.Join(addTree(l, programs, "usr/local/bin/", nil), addServices(l, debian))
	})
}

// jar is a jar of the Debian packages that services get a copy of.
type jar struct {
	source, base string
	entry        fs.DirEntry
}

// addServices writes opt/service-N/lib directories until the image has
// mediumJars jars.
func addServices(l *ociwrite.Layer, debian string) error {
	var jars []jar
	missing, seen := mediumJars, map[string]bool{}
	err := walk(debian, func(rel string, d fs.DirEntry, _ map[inode]string) error {
		if !strings.HasSuffix(rel, ".jar") || !d.Type().IsRegular() {
			return nil
		}
		missing--
		info, err := d.Info()
		if err != nil {
			return err
		}
		base := filepath.Base(rel)
		if info.Size() <= maxCopiedJar && !seen[base] {
			seen[base] = true
			jars = append(jars, jar{filepath.Join(debian, rel), base, d})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(jars) == 0 {
		return errors.New("the Debian root has no jar to copy; remove it so that it is made anew")
	}
	for i := range max(missing, 0) {
		j := jars[i%len(jars)]
		name := "opt/service-" + string(rune('a'+i/len(jars)%26)) + "/lib/" + j.base
		if err := addFile(l, j.source, name, j.entry, map[inode]string{}); err != nil {
			return err
		}
	}
	return nil
}

// layer writes one layer with what add adds.
func layer(w *ociwrite.Writer, add func(*ociwrite.Layer) error) error {
	l, err := w.Layer()
	if err != nil {
		return err
	}
	return errors.Join(add(l), l.Close())
}
