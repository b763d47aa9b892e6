package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
)

// ErrForbidden says that the options do not allow the address that a host has.
var ErrForbidden = errors.New("not allowed by the policy")

// Addresses says which addresses may be connected to, for references that come
// from somebody who could not connect there alone. It counts for the registry, and for
// every host that it redirects to or names as the place of its tokens.
//
// Refused are addresses that mean this machine or the machines around it, and
// no registry: loopback, link-local, multicast, unspecified, and those where
// clouds keep credentials of their machines. Private ranges (RFC 1918, RFC 4193)
// are allowed, because registries live there: what else listens on a private
// network must not rely on being out of a scanner's reach.
//
// A name is no protection, since its owner decides where it leads, and can
// change that between two looks. So each address is checked when it is
// connected to. Behind an HTTP proxy names are the proxy's to look up, and its
// rules count; only addresses written as such are checked then.
type Addresses struct {
	// Allowed names hosts ("host" or "host:port") that may have any address.
	Allowed []string
}

// forbidden are the ranges that no stranger may lead us to, and what they are.
var forbidden = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("169.254.169.254/32"), "a cloud's metadata address"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "a cloud's metadata address"},      // Amazon's services for instances
	{netip.MustParsePrefix("fd20:ce::254/128"), "a cloud's metadata address"},   // Google
	{netip.MustParsePrefix("100.100.100.200/32"), "a cloud's metadata address"}, // Alibaba
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata address"},   // Azure's WireServer
	{netip.MustParsePrefix("192.0.0.0/24"), "a cloud's metadata address"},       // Oracle's first generation; nothing else is assigned there
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("fec0::/10"), "a site-local address"},
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"}, // Linux connects 0.0.0.0 to itself
	{netip.MustParsePrefix("::/128"), "an unspecified address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"}, // with the broadcast address
}

var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052, 2.1
	sixTo4 = netip.MustParsePrefix("2002::/16")    // RFC 3056, 2
	compat = netip.MustParsePrefix("::/96")        // RFC 4291, 2.5.5.1
)

// meant is the address that traffic for a ends at: IPv6 can carry an IPv4 address in several ways.
func meant(a netip.Addr) netip.Addr {
	a = a.WithZone("").Unmap()
	b := a.As16()
	switch {
	case a.Is4():
		return a
	case nat64.Contains(a), compat.Contains(a) && (b[12] != 0 || b[13] != 0):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

// forbids says what a forbidden address is, "" for one that is allowed.
func forbids(a netip.Addr) string {
	a = meant(a)
	for _, f := range forbidden {
		if f.prefix.Contains(a) {
			return f.what
		}
	}
	return ""
}

// allows reports whether the host, "name" or "name:port", may have any address.
func (p *Addresses) allows(host string) bool { return p == nil || listed(host, p.Allowed) }

// checkHost refuses a host of a URL that is an address, or localhost, whoever would connect to it.
func (p *Addresses) checkHost(u *url.URL) error {
	host, name := u.Host, u.Hostname()
	if p.allows(host) || p.allows(net.JoinHostPort(name, portOf(u))) {
		return nil
	}
	if local := strings.ToLower(strings.TrimSuffix(name, ".")); local == "localhost" || strings.HasSuffix(local, ".localhost") {
		return &addressError{host, "this machine itself"}
	}
	if a, err := netip.ParseAddr(name); err == nil {
		if what := forbids(a); what != "" {
			return &addressError{host, what}
		}
	}
	return nil
}

// dial makes a dialer check each address that a name led to, just before the
// connection is made. Hosts in trusted ("host:port") are the user's own proxies.
func (p *Addresses) dial(d net.Dialer, trusted []string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		d := d
		if !p.allows(address) && !slices.Contains(trusted, address) {
			d.ControlContext = func(_ context.Context, _, to string, _ syscall.RawConn) error {
				a, err := netip.ParseAddrPort(to)
				if err != nil {
					return &addressError{address, "no address"}
				}
				if what := forbids(a.Addr()); what != "" {
					return &addressError{address, fmt.Sprintf("%s, %s", a.Addr(), what)}
				}
				return nil
			}
		}
		return d.DialContext(ctx, network, address)
	}
}

// proxies are the addresses of the proxies that may be used, as they are dialled.
func proxies(proxy func(*http.Request) (*url.URL, error)) []string {
	var all []string
	for _, scheme := range []string{"https", "http"} {
		// A name that is in no list of exceptions (RFC 6761, 6.4).
		u, err := proxy(&http.Request{URL: &url.URL{Scheme: scheme, Host: "registry.invalid"}})
		if err != nil || u == nil {
			continue
		}
		all = append(all, net.JoinHostPort(u.Hostname(), portOf(u)))
	}
	return all
}

// portOf is the port that net/http dials for a URL.
func portOf(u *url.URL) string {
	standard := map[string]string{"https": "443", "socks5": "1080", "socks5h": "1080"}
	return cmp.Or(u.Port(), standard[u.Scheme], "80")
}

// addressError says where a host leads that must not be gone to.
type addressError struct{ host, leads string }

func (e *addressError) Error() string {
	return fmt.Sprintf("%s leads to %s, which registries must not have unless they are listed", e.host, e.leads)
}
