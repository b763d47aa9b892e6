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
	host := hostname(registry)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return true
	}
	return listed(registry, plain)
}

// hostname is a host without its port and brackets.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.Trim(host, "[]")
}

// listed reports whether a list has the host, with its port or without.
func listed(host string, list []string) bool {
	name := hostname(host)
	return slices.ContainsFunc(list, func(l string) bool {
		return l == host || strings.Trim(l, "[]") == name
	})
}

// guard stands on the wire. go-containerregistry falls back to plain HTTP for
// private addresses by itself, and any registry can redirect to it: both would
// show credentials to the network, so HTTP needs consent. What an address is, is
// known to the dialer alone; the guard refuses those that stand in a URL, which a proxy would dial.
type guard struct {
	inner     http.RoundTripper
	plain     bool
	addresses *Addresses
}

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	err := g.addresses.checkHost(req.URL)
	if err == nil && req.URL.Scheme == "http" && !g.plain {
		err = &plainError{host: req.URL.Host}
	}
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
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
