package registry

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Parse reads a reference to an image in a registry; without a registry it
// means Docker Hub, without a tag or digest "latest". plain is as in [Options.PlainHTTP].
func Parse(s string, plain []string) (name.Reference, error) {
	ref, err := name.ParseReference(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image reference such as registry.example/team/app:1.0: %s", scrub(errors.New(s)), scrub(err))
	}
	if IsPlain(ref.Context().RegistryStr(), plain) {
		return name.ParseReference(s, name.Insecure)
	}
	return ref, nil
}

// IsPlain reports whether a registry may be reached without TLS: it is a
// loopback address, or listed, with its port or without.
func IsPlain(registry string, plain []string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return true
	}
	return slices.ContainsFunc(plain, func(p string) bool {
		return p == registry || strings.Trim(p, "[]") == host
	})
}

// guard stands on the wire. go-containerregistry falls back to plain HTTP for
// private addresses by itself, and any registry can redirect to it: both would
// show credentials to the network, so HTTP needs consent.
type guard struct {
	inner http.RoundTripper
	plain bool
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !g.plain {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, &plainError{host: req.URL.Host}
	}
	resp, err := g.inner.RoundTrip(req)
	if err == nil && req.URL.Path == "/v2/" {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxPing), resp.Body}
	}
	return resp, err
}

type plainError struct{ host string }

func (e *plainError) Error() string {
	return "plain HTTP to " + e.host + " was not allowed; list the registry as a plain-HTTP host if it has no TLS"
}
