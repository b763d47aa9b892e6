package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"stella/internal/scan/image/archive"
)

// openArchive opens a tar file. Without a scheme it is an OCI layout if it has the
// file oci-layout, even if docker save also put its own manifest.json there: the layout promises digests of what is stored.
func openArchive(ctx context.Context, r *reference, want wanted, o *Options) (*Image, error) {
	f, err := o.Paths.file(r.path)
	if err != nil {
		return nil, err
	}
	a, err := archive.Open(ctx, f, o.TempDir, o.Log)
	if err != nil {
		return nil, err
	}
	m, err := loadArchive(ctx, a, r, want)
	if err != nil {
		a.Close()
		return nil, err
	}
	return m, nil
}

func loadArchive(ctx context.Context, a *archive.Archive, r *reference, want wanted) (*Image, error) {
	roots, err := a.Find(ctx, []string{"oci-layout", "index.json", "manifest.json"})
	if err != nil {
		return nil, err
	}
	has := func(name string) bool { _, ok := roots[name]; return ok }
	switch {
	case r.scheme == schemeOCIArchive && !has("index.json"):
		return nil, errors.New("the archive has no index.json, so it is not an OCI layout; try docker-archive:")
	case r.scheme == schemeDockerArchive && !has("manifest.json"):
		return nil, errors.New("the archive has no manifest.json, so docker save did not write it; try oci-archive:")
	case r.scheme == schemeDockerArchive, r.scheme == "" && has("manifest.json") && !has("oci-layout"):
		return loadDocker(ctx, a, r, want)
	case r.scheme == schemeOCIArchive, has("oci-layout"):
		return loadOCIArchive(ctx, a, r, want)
	}
	return nil, errors.New("the archive holds no image: it has neither oci-layout nor manifest.json; to scan it as a file system, unpack it and use dir:PATH")
}

// members is an OCI layout in an archive.
type members struct {
	*archive.Archive
	found map[string]archive.Member // layers, looked for together
}

func loadOCIArchive(ctx context.Context, a *archive.Archive, r *reference, want wanted) (*Image, error) {
	s := &members{Archive: a}
	m, err := loadLayout(ctx, layout{s}, r, want)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(m.Layers))
	for i := range m.Layers {
		if names[i], err = blobName(m.Layers[i].Digest); err != nil {
			return nil, err
		}
	}
	s.found, err = a.Find(ctx, names)
	return m, err
}

func (s *members) read(ctx context.Context, name string, limit int64) ([]byte, error) {
	return readMember(ctx, s.Archive, name, limit)
}

func (s *members) open(_ context.Context, name string) (io.ReadCloser, error) {
	return openMember(s.Archive, s.found, name)
}

func readMember(ctx context.Context, a *archive.Archive, name string, limit int64) ([]byte, error) {
	data, err := a.Read(ctx, name, limit)
	if errors.Is(err, archive.ErrNoMember) {
		return nil, fmt.Errorf("the archive has no %s: %w", name, ErrNotFound)
	}
	return data, err
}

func openMember(a *archive.Archive, found map[string]archive.Member, name string) (io.ReadCloser, error) {
	m, ok := found[name]
	if !ok {
		return nil, fmt.Errorf("the archive has no %s: %w", name, ErrNotFound)
	}
	return io.NopCloser(a.Open(m)), nil
}

// dockerImage is one entry of the manifest.json that docker save writes.
type dockerImage struct {
	Config   string
	RepoTags list[string]
	Layers   list[string]
}

// id is the digest that the name of the configuration promises, "" for a name of another form.
func (d *dockerImage) id() string {
	id := "sha256:" + strings.TrimSuffix(path.Base(d.Config), ".json")
	if _, err := parseDigest(id); err != nil {
		return ""
	}
	return id
}

func (d *dockerImage) names() []string {
	if len(d.RepoTags) > 0 {
		return d.RepoTags
	}
	return []string{d.Config}
}

// docker is an archive of docker save: the layers' names say nothing, so that their diffIDs are all they have.
type docker struct {
	*archive.Archive
	found map[string]archive.Member
}

func (s *docker) manifest(context.Context, string) ([]byte, string, error) {
	return nil, "", errors.New("an archive of docker save has no manifests")
}

func (s *docker) config(context.Context, string) ([]byte, error) {
	return nil, errors.New("an archive of docker save has no configuration by digest")
}

func (s *docker) layer(_ context.Context, l *Layer) (io.ReadCloser, error) {
	return openMember(s.Archive, s.found, l.member)
}

func loadDocker(ctx context.Context, a *archive.Archive, r *reference, want wanted) (*Image, error) {
	raw, err := readMember(ctx, a, "manifest.json", maxManifest)
	if err != nil {
		return nil, err
	}
	d, entry, err := pickDocker(raw, r)
	if err != nil {
		return nil, err
	}
	m := &Image{ID: d.id(), RawManifest: entry}
	if m.RawConfig, err = readMember(ctx, a, d.Config, maxConfig); err != nil {
		return nil, err
	}
	if m.ID == "" {
		m.ID = digestOf(m.RawConfig)
	} else if err := verify("configuration", m.ID, m.RawConfig); err != nil {
		return nil, err
	}
	if m.Config, err = parseConfig(m.RawConfig); err != nil {
		return nil, err
	}
	if err := checkPlatform(&m.Config, want); err != nil {
		return nil, err
	}
	if len(m.Config.diffIDs) != len(d.Layers) {
		return nil, fmt.Errorf("manifest.json names %d layers and the configuration %d: what the layers should be cannot be known", len(d.Layers), len(m.Config.diffIDs))
	}
	s := &docker{Archive: a}
	if s.found, err = a.Find(ctx, d.Layers); err != nil {
		return nil, err
	}
	m.source = s
	for i, name := range d.Layers {
		l := Layer{Index: i, Digest: m.Config.diffIDs[i], Verify: VerifyUncompressed, DiffID: m.Config.diffIDs[i], Size: -1, member: name, source: s}
		if f, ok := s.found[name]; ok {
			l.Size = f.Size
		}
		m.Layers = append(m.Layers, l)
	}
	return m, nil
}

// pickDocker finds what the reference means in manifest.json.
func pickDocker(raw []byte, r *reference) (*dockerImage, json.RawMessage, error) {
	var entries list[json.RawMessage]
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, nil, fmt.Errorf("manifest.json is not valid: %w", err)
	}
	var all []string
	var found *dockerImage
	var entry json.RawMessage
	n := 0
	for _, e := range entries {
		var d dockerImage
		if err := json.Unmarshal(e, &d); err != nil {
			return nil, nil, fmt.Errorf("manifest.json is not valid: %w", err)
		}
		if len(all) <= maxListed {
			all = append(all, d.names()...)
		}
		if d.isMeant(r) {
			found, entry = &d, e
			n++
		}
	}
	switch {
	case n == 1:
		return found, entry, nil
	case n > 1:
		return nil, nil, fmt.Errorf("there are several images, choose one with PATH:NAME:TAG: %s", enumerate(all))
	case len(entries) == 0:
		return nil, nil, fmt.Errorf("manifest.json names no image: %w", ErrNotFound)
	}
	return nil, nil, fmt.Errorf("no image is called %q (%w); there are: %s", r.tag+r.digest, ErrNotFound, enumerate(all))
}

func (d *dockerImage) isMeant(r *reference) bool {
	if r.digest != "" {
		return d.id() == r.digest
	}
	if r.tag == "" {
		return true
	}
	for _, t := range d.RepoTags {
		if colon := strings.LastIndexByte(t, ':'); t == r.tag || sameName(t, r.tag) || t[colon+1:] == r.tag {
			return true
		}
	}
	return false
}
