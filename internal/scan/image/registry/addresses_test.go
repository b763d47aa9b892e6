package registry

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestForbids(t *testing.T) {
	for _, s := range []string{
		"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1",
		"169.254.169.254", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "::a9fe:a9fe",
		"169.254.0.1", "169.254.170.2", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1",
		"fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "224.0.0.1", "239.1.1.1", "ff02::1", "ff02::1%lo", "255.255.255.255", "240.0.0.1",
	} {
		if forbids(netip.MustParseAddr(s)) == "" {
			t.Errorf("%s is allowed", s)
		}
	}
	for _, s := range []string{
		"10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12:3456::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
		"1.1.1.1", "126.255.255.255", "128.0.0.1", "169.253.255.255", "169.255.0.1", "2606:4700::1111", "2002:a00:1::1", "223.255.255.255",
	} {
		if what := forbids(netip.MustParseAddr(s)); what != "" {
			t.Errorf("%s is refused as %s", s, what)
		}
	}
}

// FuzzForbids: an address is judged alike in all its forms.
func FuzzForbids(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte{169, 254, 1, 1})
	f.Add([]byte{10, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != 4 {
			t.Skip()
		}
		plain := netip.AddrFrom4([4]byte(b))
		want := forbids(plain)
		if p := plain; want == "" && (p.IsLoopback() || p.IsLinkLocalUnicast() || p.IsMulticast() || p.IsUnspecified()) {
			t.Errorf("%s is allowed", p)
		}
		if got := forbids(netip.AddrFrom16(plain.As16())); got != want {
			t.Errorf("%s: mapped: %q, want %q", plain, got, want)
		}
		n := nat64.Addr().As16()
		copy(n[12:], b)
		if got := forbids(netip.AddrFrom16(n)); got != want {
			t.Errorf("%s: NAT64: %q, want %q", plain, got, want)
		}
	})
}

// nameServer answers every question for an IPv4 address with the next of its answers.
type nameServer struct {
	answers []string
	asked   atomic.Int64
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe() // no packet connection, so that messages have a length in front (RFC 1035, 4.2.2)
		go s.serve(server)
		return client, nil
	}}
}

func (s *nameServer) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		end := 12 // of the question: labels, type, class
		for q[end] != 0 {
			end += int(q[end]) + 1
		}
		kind := binary.BigEndian.Uint16(q[end+1:])
		r := append([]byte(nil), q[:end+5]...)
		r[2], r[3] = 0x81, 0x80               // an answer, with recursion
		copy(r[6:], []byte{0, 0, 0, 0, 0, 0}) // no records yet
		if kind == 1 {                        // A
			n := min(int(s.asked.Add(1))-1, len(s.answers)-1)
			r[7] = 1
			ip := netip.MustParseAddr(s.answers[n]).As4()
			r = append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
			r = append(r, ip[:]...)
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...)); err != nil {
			return
		}
	}
}

// A name that leads to a proper address when it is looked at, and to this machine when it is used, is refused.
func TestRebinding(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var accepted atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	names := &nameServer{answers: []string{"203.0.113.7", "127.0.0.1"}}
	d := net.Dialer{Resolver: names.resolver()}
	host := "rebind.example:" + port

	// The look before: as a check of the name alone would do it.
	if ips, err := names.resolver().LookupNetIP(t.Context(), "ip4", "rebind.example"); err != nil || forbids(ips[0]) != "" {
		t.Fatalf("%v, %v", ips, err)
	}
	_, err = (&Addresses{}).dial(d, nil)(t.Context(), "tcp", host)
	var refused *addressError
	if !errors.As(err, &refused) || accepted.Load() != 0 {
		t.Fatalf("error %v, %d connections", err, accepted.Load())
	}
	if !strings.Contains(err.Error(), "127.0.0.1") || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("the error does not say where it led: %v", err)
	}
	for _, p := range []*Addresses{nil, {Allowed: []string{host}}, {Allowed: []string{"rebind.example"}}} {
		c, err := p.dial(d, nil)(t.Context(), "tcp", host)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		c.Close()
	}
	if _, err := (&Addresses{Allowed: []string{"rebind.example:1", "other.example"}}).dial(d, nil)(t.Context(), "tcp", host); err == nil {
		t.Error("another port, or another host, was allowed by the list")
	}
}

// The same through all of a client, whose transport looks names up by itself.
func TestClientChecksAddresses(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // no credentials of whoever runs the tests
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer s.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	host := "registry.example:" + port

	before := net.DefaultResolver
	net.DefaultResolver = (&nameServer{answers: []string{"127.0.0.1"}}).resolver()
	defer func() { net.DefaultResolver = before }()
	for _, c := range []struct {
		addresses *Addresses
		ok        bool
	}{{nil, true}, {&Addresses{Allowed: []string{host}}, true}, {&Addresses{}, false}} {
		asked = 0
		o := Options{PlainHTTP: []string{host}, Addresses: c.addresses, Attempts: 1}
		ref, err := Parse(host+"/app", o.PlainHTTP)
		if err != nil {
			t.Fatal(err)
		}
		client, err := Dial(t.Context(), ref.Context(), o)
		if err == nil {
			client.Close()
		}
		if (err == nil) != c.ok || (asked > 0) != c.ok || !c.ok && !errors.Is(err, ErrForbidden) {
			t.Errorf("%+v: error %v, %d requests", c.addresses, err, asked)
		}
	}
}

// Behind a proxy that is on this machine, as proxies of one's own often are, references cannot name the proxy itself.
func TestProxies(t *testing.T) {
	var seen []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.URL.Host) }))
	defer proxy.Close()
	where, _ := url.Parse(proxy.URL)
	trusted := proxies(http.ProxyURL(where))
	if !slices.Equal(trusted, []string{where.Host, where.Host}) {
		t.Fatalf("%q", trusted)
	}
	p := &Addresses{}
	c := &http.Client{Transport: &guard{plain: true, addresses: p, inner: &http.Transport{
		Proxy: http.ProxyURL(where), DialContext: p.dial(net.Dialer{}, trusted),
	}}}
	for host, ok := range map[string]bool{
		"registry.example": true, "10.0.0.1:5000": true, where.Host: false, "localhost:" + where.Port(): false, "LOCALHOST.": false, "x.localhost": false,
		"169.254.169.254": false, "[::ffff:169.254.169.254]": false, "[fe80::1%25lo]": false,
	} {
		resp, err := c.Get("http://" + host + "/v2/")
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
	slices.Sort(seen)
	if !slices.Equal(seen, []string{"10.0.0.1:5000", "registry.example"}) {
		t.Errorf("the proxy was asked for %q", seen)
	}
	for in, want := range map[string]string{"http://p.example": "p.example:80", "https://p.example": "p.example:443", "socks5://[fd00::1]": "[fd00::1]:1080", "http://p.example:3128": "p.example:3128"} {
		u, _ := url.Parse(in)
		if got := proxies(http.ProxyURL(u)); got[0] != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
