package image

import (
	"cmp"
	"context"
	"fmt"
	"io"

	"stella/internal/scan/image/registry"
)

// remote is an image in a registry.
type remote struct {
	client *registry.Client
	asked  string // tag or digest
	// dial makes another client for the repository, which may write.
	dial func(ctx context.Context) (*registry.Client, error)
}

func openRegistry(ctx context.Context, r *reference, want wanted, o *Options) (*Image, error) {
	ref, err := registry.Parse(r.name, o.PlainHTTP)
	if err != nil {
		return nil, err
	}
	how := registry.Options{
		Transport: o.Transport, Keychain: o.Keychain, UserAgent: o.UserAgent, PlainHTTP: o.PlainHTTP,
		Addresses: o.Addresses, SkipTLSVerify: o.SkipTLSVerify, StallTimeout: o.StallTimeout, Attempts: o.Attempts, Log: o.Log,
	}
	client, err := registry.Dial(ctx, ref.Context(), how)
	if err != nil {
		return nil, err
	}
	s := &remote{client: client, asked: cmp.Or(r.digest, ref.Identifier())}
	how.Push = true
	s.dial = func(ctx context.Context) (*registry.Client, error) { return registry.Dial(ctx, ref.Context(), how) }
	var d descriptor
	if _, err := parseDigest(s.asked); err == nil { // a tag cannot hold a colon
		d.Digest = s.asked
	}
	m, err := load(ctx, s, d, want)
	if err != nil {
		s.Close()
		return nil, err
	}
	return m, nil
}

func (s *remote) manifest(ctx context.Context, digest string) ([]byte, string, error) {
	if digest != "" {
		doc, err := s.client.Manifest(ctx, digest, acceptedTypes, maxManifest)
		if err != nil {
			return nil, "", err
		}
		return doc.Raw, doc.MediaType, nil
	}
	doc, err := s.client.Manifest(ctx, s.asked, acceptedTypes, maxManifest)
	if err != nil {
		return nil, "", err
	}
	if doc.Digest != "" {
		if err := verify("manifest", doc.Digest, doc.Raw); err != nil {
			return nil, "", fmt.Errorf("tag %s, header Docker-Content-Digest: %w", s.asked, err)
		}
	}
	return doc.Raw, doc.MediaType, nil
}

func (s *remote) config(ctx context.Context, digest string) ([]byte, error) {
	return s.client.SmallBlob(ctx, digest, maxConfig)
}

func (s *remote) layer(ctx context.Context, l *Layer) (io.ReadCloser, error) {
	return s.client.Blob(ctx, l.Digest, l.Size)
}

func (s *remote) Close() error { return s.client.Close() }
