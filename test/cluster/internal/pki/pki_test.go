package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pool is what a daemon trusts that is given ca.crt.
func (a *Authority) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		t.Fatalf("no certificate in ca.crt:\n%s", data)
	}
	return pool
}

func (id Identity) parse(t *testing.T) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(id.Cert, id.Key) // also: the key is the certificate's
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func TestServerIsGoodForItsNamesOnly(t *testing.T) {
	a := newAuthority(t)
	names := []string{"kubernetes", "kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1", "::1"}
	id, err := a.Server(names...)
	if err != nil {
		t.Fatal(err)
	}
	cert := id.parse(t)
	verify := func(name string) error {
		if ip := net.ParseIP(name); ip != nil {
			name = "[" + name + "]" // how package x509 is told an address
		}
		_, err := cert.Verify(x509.VerifyOptions{Roots: a.pool(t), DNSName: name})
		return err
	}
	for _, name := range names {
		if err := verify(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"kubernetes.default", "svc", "a.localhost", "127.0.0.2", "10.96.0.2", "::2", "stella-test-cluster"} {
		if err := verify(name); !errors.As(err, new(x509.HostnameError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A server's certificate makes no client, and neither makes further certificates.
func TestWhatCertificatesAreFor(t *testing.T) {
	a := newAuthority(t)
	server, err := a.Server("localhost")
	if err != nil {
		t.Fatal(err)
	}
	client, err := a.Client("admin", "system:masters", "others")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id       Identity
		can, not x509.ExtKeyUsage
	}{
		{server, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		{client, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	} {
		cert := c.id.parse(t)
		if _, err := cert.Verify(x509.VerifyOptions{Roots: a.pool(t), KeyUsages: []x509.ExtKeyUsage{c.can}}); err != nil {
			t.Error(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: a.pool(t), KeyUsages: []x509.ExtKeyUsage{c.not}}); err == nil {
			t.Errorf("%s is good for everything", cert.Subject)
		}
		if cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0 {
			t.Errorf("%s can sign", cert.Subject)
		}
	}
	subject := client.parse(t).Subject
	slices.Sort(subject.Organization) // a set in the certificate
	if subject.CommonName != "admin" || !slices.Equal(subject.Organization, []string{"others", "system:masters"}) {
		t.Errorf("Kubernetes would read user %q in %q", subject.CommonName, subject.Organization)
	}
	if server.parse(t).SerialNumber.Cmp(client.parse(t).SerialNumber) == 0 {
		t.Error("two certificates have one serial number")
	}
}

// A virtual machine's clock may be some hours off, and a cluster may be held for days.
func TestClocks(t *testing.T) {
	a := newAuthority(t)
	id, err := a.Server("localhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off time.Duration
		ok  bool
	}{
		{-setBack - time.Hour, false}, {-setBack + time.Hour, true}, {-12 * time.Hour, true}, {0, true},
		{7 * 24 * time.Hour, true}, {lifetime - time.Hour, true}, {lifetime + time.Hour, false},
	} {
		_, err := id.parse(t).Verify(x509.VerifyOptions{Roots: a.pool(t), CurrentTime: time.Now().Add(c.off)})
		if (err == nil) != c.ok {
			t.Errorf("a clock that is %v off: %v", c.off, err)
		}
	}
}

// All authorities have one name; only their keys tell them apart.
func TestAuthoritiesDoNotTrustEachOther(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	id, err := a.Server("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.parse(t).Verify(x509.VerifyOptions{Roots: b.pool(t)}); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("another cluster's certificate: %v", err)
	}
}

// A kubeconfig is all that a client needs, and what the server sees is what was signed.
func TestKubeconfig(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	server := serve(t, a)
	for _, authority := range []*Authority{a, other} {
		if err := authority.Kubeconfig("who", server.URL, "system:node:node", "system:nodes"); err != nil {
			t.Fatal(err)
		}
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(a.dir, "who.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(t, config); err != nil || got != "system:node:node in [system:nodes]" {
		t.Errorf("the server saw %q, %v", got, err)
	}
	stranger, err := clientcmd.BuildConfigFromFlags("", filepath.Join(other.dir, "who.kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := get(t, stranger); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("another cluster's client trusts this server: %q, %v", got, err)
	}
	stranger.CAData = config.CAData // trusts, and is not trusted
	if got, err := get(t, stranger); err == nil || !strings.Contains(err.Error(), "tls: ") {
		t.Errorf("the server trusts another cluster's client: %q, %v", got, err)
	}
}

// serve answers each client with its name and groups.
func serve(t *testing.T, a *Authority) *httptest.Server {
	t.Helper()
	id, err := a.Server("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Write("apiserver", id); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(a.dir, "apiserver.crt"), filepath.Join(a.dir, "apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject := r.TLS.PeerCertificates[0].Subject
		fmt.Fprintf(w, "%s in %s", subject.CommonName, subject.Organization)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: a.pool(t), ClientAuth: tls.RequireAndVerifyClientCert}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func get(t *testing.T, config *rest.Config) (string, error) {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	response, err := client.Get(config.Host)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestServiceAccountKey(t *testing.T) {
	a := newAuthority(t)
	if err := a.ServiceAccountKey(); err != nil {
		t.Fatal(err)
	}
	private, public := block(t, a, "sa.key"), block(t, a, "sa.pub")
	key, err := x509.ParseECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	want, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil || !slices.Equal(public, want) {
		t.Errorf("sa.pub is not sa.key's (%v)", err)
	}
}

func block(t *testing.T, a *Authority, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	got, rest := pem.Decode(data)
	if got == nil || len(rest) > 0 {
		t.Fatalf("%s is not one block of PEM:\n%s", name, data)
	}
	return got.Bytes
}

// Whoever reads one of these files is the cluster's administrator.
func TestFilesAreTheOwnersOnly(t *testing.T) {
	a := newAuthority(t)
	id, err := a.Client("admin")
	if err := errors.Join(err, a.ServiceAccountKey(), a.Write("admin", id), a.Kubeconfig("admin", "https://127.0.0.1:1", "admin")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
		if info, err := entry.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", entry.Name(), info.Mode(), err)
		}
		data, err := os.ReadFile(filepath.Join(a.dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if authority, err := encodeKey(a.key.(*ecdsa.PrivateKey)); err != nil || strings.Contains(string(data), string(authority)) {
			t.Errorf("%s holds the key of the authority, which nobody needs (%v)", entry.Name(), err)
		}
	}
	if want := []string{"admin.crt", "admin.key", "admin.kubeconfig", "ca.crt", "sa.key", "sa.pub"}; !slices.Equal(names, want) {
		t.Errorf("want %q, got %q", want, names)
	}
}

func TestADirectoryThatIsGone(t *testing.T) {
	a := newAuthority(t)
	id, err := a.Client("admin")
	if err != nil {
		t.Fatal(err)
	}
	a.dir = filepath.Join(a.dir, "file", "none")
	if err := os.WriteFile(filepath.Dir(a.dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = New(a.dir)
	for what, err := range map[string]error{
		"New": err, "Write": a.Write("admin", id), "ServiceAccountKey": a.ServiceAccountKey(), "Kubeconfig": a.Kubeconfig("admin", "https://x", "admin"),
	} {
		if err == nil || !strings.Contains(err.Error(), filepath.Dir(a.dir)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
