package webhook

import (
	"fmt"
	"net/netip"
)

// special are the networks that are not public, and what they are: IANA's registries of special-purpose addresses, as far as they
// are not globally reachable, and what carries other addresses in it.
// https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry
var special = func() map[netip.Prefix]string {
	names := map[string]string{
		"0.0.0.0/8":       "this host",
		"10.0.0.0/8":      "a private network",
		"100.64.0.0/10":   "a provider's own network",
		"127.0.0.0/8":     "this machine",
		"169.254.0.0/16":  "link-local, where clouds keep their credentials",
		"172.16.0.0/12":   "a private network",
		"192.0.0.0/24":    "for protocols",
		"192.0.2.0/24":    "for documents",
		"192.88.99.0/24":  "a relay",
		"192.168.0.0/16":  "a private network",
		"198.18.0.0/15":   "for benchmarks",
		"198.51.100.0/24": "for documents",
		"203.0.113.0/24":  "for documents",
		"224.0.0.0/4":     "multicast",
		"240.0.0.0/4":     "reserved",
		"::/96":           "this machine, or an IPv4 address in disguise",
		"64:ff9b::/96":    "an IPv4 address in disguise",
		"64:ff9b:1::/48":  "an IPv4 address in disguise",
		"100::/64":        "a black hole",
		"2001::/23":       "for protocols",
		"2001:db8::/32":   "for documents",
		"2002::/16":       "an IPv4 address in disguise",
		"3fff::/20":       "for documents",
		"5f00::/16":       "for segment routing",
		"fc00::/7":        "a private network",
		"fe80::/10":       "link-local",
		"fec0::/10":       "a private network",
		"ff00::/8":        "multicast",
	}
	all := make(map[netip.Prefix]string, len(names))
	for text, what := range names {
		all[netip.MustParsePrefix(text)] = what
	}
	return all
}()

// check says why an address must not be called; scheme is of the URL.
func (o Options) check(addr netip.Addr, scheme string) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range o.Allow {
		if p.Contains(addr) {
			return nil
		}
	}
	for p, what := range special {
		if p.Contains(addr) {
			return fmt.Errorf("%s is %s, which this service does not call unless it is allowed to", addr, what)
		}
	}
	if scheme != "https" && !o.AllowPlain {
		return fmt.Errorf("%s would be called without TLS: this service sends nothing unencrypted there", addr)
	}
	return nil
}
