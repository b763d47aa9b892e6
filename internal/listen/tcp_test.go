package listen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/listen"
)

// certificate makes one for 127.0.0.1 and returns its files.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, text := range map[string][]byte{certFile: cert, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return certFile, keyFile, pool
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		o    listen.TCPOptions
		want string // a part of the error, "" for none
	}{
		{listen.TCPOptions{Address: "127.0.0.1:0"}, ""},
		{listen.TCPOptions{Address: "[::1]:0"}, ""},
		{listen.TCPOptions{Address: "localhost:0"}, ""},
		{listen.TCPOptions{Address: "127.7.7.7:80"}, ""},
		{listen.TCPOptions{Address: "0.0.0.0:0"}, "other machines"},
		{listen.TCPOptions{Address: ":8443"}, "other machines"},
		{listen.TCPOptions{Address: "[::]:8443"}, "other machines"},
		{listen.TCPOptions{Address: "192.0.2.1:8443"}, "other machines"},
		{listen.TCPOptions{Address: "localhost.example.org:80"}, "other machines"},
		{listen.TCPOptions{Address: "0.0.0.0:0", AllowPlain: true}, ""},
		{listen.TCPOptions{Address: "0.0.0.0:0", CertFile: "a", KeyFile: "b"}, ""},
		{listen.TCPOptions{Address: "127.0.0.1:0", CertFile: "a"}, "belong together"},
		{listen.TCPOptions{Address: "8443"}, "HOST:PORT"},
		{listen.TCPOptions{Address: ""}, "HOST:PORT"},
	} {
		err := test.o.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.o, err, test.want)
		}
	}
}

func TestTLS(t *testing.T) {
	certFile, keyFile, pool := certificate(t)
	l, err := listen.TCP(t.Context(), listen.TCPOptions{Address: "127.0.0.1:0", CertFile: certFile, KeyFile: keyFile})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("x"))
			c.Close()
		}
	}()
	dial := func(most uint16) error {
		c, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: most}}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err == nil {
			defer c.Close()
			_, err = c.Read(make([]byte, 1))
		}
		return err
	}
	if err := dial(tls.VersionTLS13); err != nil {
		t.Error(err)
	}
	if err := dial(tls.VersionTLS11); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
	if _, err := listen.TCP(t.Context(), listen.TCPOptions{Address: "127.0.0.1:0", CertFile: keyFile, KeyFile: certFile}); err == nil {
		t.Error("a certificate that is none was taken")
	}
}

func TestConnectionsByOption(t *testing.T) {
	l, err := listen.TCP(t.Context(), listen.TCPOptions{Address: "127.0.0.1:0", Connections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		second <- err
	}()
	select {
	case <-second:
		t.Error("the second connection was accepted beside the first")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// A listener has so many connections and no more; one that ends makes room.
func TestConnectionsAreBounded(t *testing.T) {
	l, err := listen.TCP(t.Context(), listen.TCPOptions{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 2048)
	failed := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			accepted <- c
		}
	}()
	dial := func() {
		t.Helper()
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	var all []net.Conn
	for range 1024 {
		dial()
		all = append(all, <-accepted)
	}
	dial()
	select {
	case <-accepted:
		t.Error("connection 1025 was accepted")
	case <-time.After(100 * time.Millisecond):
	}
	all[0].Close()
	all[0].Close() // gives one place, not two
	all = append(all[1:], <-accepted)
	l.Close() // while Accept waits
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for _, c := range all {
		c.Close()
	}
}
