package listen

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// TCPOptions say where to listen.
type TCPOptions struct {
	// Address is HOST:PORT; an empty HOST is all of the machine's addresses.
	Address string
	// CertFile and KeyFile have a certificate and its key, in PEM; both or neither.
	CertFile, KeyFile string
	// AllowPlain waives TLS beyond loopback, for instance behind a proxy that has it.
	AllowPlain bool
	// Connections is how many there may be at a time; 0 is 1024. Others wait in the kernel.
	Connections int
}

// Validate finds what is wrong with options, before anything is opened.
func (o TCPOptions) Validate() error {
	if _, _, err := net.SplitHostPort(o.Address); err != nil {
		return fmt.Errorf("address to listen on, %q: write HOST:PORT, such as 127.0.0.1:8443: %w", o.Address, err)
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return errors.New("a certificate for TLS and its key belong together: one of them is missing")
	}
	if o.CertFile == "" && !o.AllowPlain && !Loopback(o.Address) {
		return o.needsTLS()
	}
	return nil
}

func (o TCPOptions) needsTLS() error {
	return fmt.Errorf("%s can be reached from other machines, where API keys would be sent for everybody to read: give a certificate, listen on 127.0.0.1, or allow plain HTTP where something else encrypts it", o.Address)
}

// Loopback reports whether HOST:PORT is this machine's own alone, as far as it says.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// TCP listens, with TLS where there is a certificate.
func TCP(ctx context.Context, o TCPOptions) (net.Listener, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	var config *tls.Config
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("certificate for %s: %w", o.Address, err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", o.Address, err)
	}
	// What "localhost" is, the resolver says; believe the socket.
	if a, ok := l.Addr().(*net.TCPAddr); config == nil && !o.AllowPlain && !(ok && a.IP.IsLoopback()) {
		l.Close()
		return nil, o.needsTLS()
	}
	b := bound(l, cmp.Or(o.Connections, maxConns))
	if config == nil {
		return b, nil
	}
	return tls.NewListener(b, config), nil
}
