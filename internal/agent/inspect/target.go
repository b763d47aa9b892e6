package inspect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"

	"stella/internal/lines"
)

// Target is a cgroup, and the addresses at which what runs in it is asked; empty is none.
type Target struct {
	Cgroup  string
	Metrics string
	Pprof   string
}

// The kinds of addresses: in annotations, and in files.
const (
	kindMetrics = "metrics"
	kindPprof   = "pprof"
)

// paths are those of a kind where none is given.
var paths = map[string]string{kindMetrics: "/metrics", kindPprof: "/debug/pprof/heap"}

// set sets the address of a kind.
func (t *Target) set(kind, address string) {
	if kind == kindPprof {
		t.Pprof = address
	} else {
		t.Metrics = address
	}
}

const (
	// maxPath bounds the path of an address.
	maxPath = 1 << 10
	// maxFile bounds a file of targets: maxTargets lines of 500 bytes.
	maxFile = 256 << 10
)

// address makes one of an IP, a port and a path, which can have a query.
func address(ip netip.Addr, port int, way string) (string, error) {
	if port < 1 || port > 65535 {
		return "", fmt.Errorf("%d is no port from 1 to 65535", port)
	}
	host := net.JoinHostPort(ip.String(), strconv.Itoa(port))
	u, err := url.Parse("http://" + host + way)
	if err != nil || u.Host != host || u.User != nil || u.Fragment != "" || len(way) > maxPath || !strings.HasPrefix(way, "/") {
		return "", fmt.Errorf("%q is no path such as /metrics", way)
	}
	return u.String(), nil
}

// ReadFile reads targets that are no pods. Each line has the path of a cgroup, the word metrics or pprof, and a URL of this machine:
//
//	/system.slice/api.service  metrics  http://127.0.0.1:8080/metrics
//	/system.slice/api.service  pprof    http://127.0.0.1:6060/debug/pprof/heap
//
// Lines that are empty, or begin with #, count for nothing.
func ReadFile(name string) ([]Target, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, errors.Join(fmt.Errorf("%s is no file of at most %d bytes", name, maxFile), err)
	}
	in := lines.New(context.Background(), f)
	defer in.Close()
	var all []Target
	index := map[string]int{}
	for in.Next() {
		words := strings.Fields(string(in.Bytes()))
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		at, known := index[words[0]]
		if !known {
			at = len(all)
			index[words[0]], all = at, append(all, Target{Cgroup: words[0]})
		}
		if err := all[at].line(words); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, in.Number(), err)
		}
		if len(all) > maxTargets {
			return nil, fmt.Errorf("%s has more than %d cgroups", name, maxTargets)
		}
	}
	return all, in.Err()
}

// line takes one line of a file.
func (t *Target) line(words []string) error {
	if len(words) != 3 {
		return errors.New("want a cgroup, metrics or pprof, and a URL")
	}
	cgroup, kind, text := words[0], words[1], words[2]
	if !strings.HasPrefix(cgroup, "/") || path.Clean(cgroup) != cgroup {
		return fmt.Errorf("%q is no path of a cgroup, such as /system.slice/api.service", cgroup)
	}
	if paths[kind] == "" {
		return fmt.Errorf("%q is neither %s nor %s", kind, kindMetrics, kindPprof)
	}
	if kind == kindMetrics && t.Metrics != "" || kind == kindPprof && t.Pprof != "" {
		return fmt.Errorf("%s has %s twice", cgroup, kind)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || len(text) > maxPath {
		return errors.New("want a URL such as http://127.0.0.1:8080" + paths[kind])
	}
	host, err := netip.ParseAddrPort(u.Host)
	if err != nil || !host.Addr().IsLoopback() || host.Port() == 0 {
		return fmt.Errorf("%q is no loopback address with a port: write 127.0.0.1:PORT or [::1]:PORT; other machines, and names, are not asked", u.Host)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = paths[kind]
	}
	t.set(kind, u.String())
	return nil
}
