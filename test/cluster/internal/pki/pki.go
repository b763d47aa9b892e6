// Package pki makes the certificates, keys and kubeconfigs of one test cluster.
//
// There is one authority for everything: it signs servers and clients alike, and
// it is forgotten as soon as the cluster's are signed. Nobody else can join.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime of every certificate. A cluster lives for minutes, a developer's for
// a working day; the start is set back for clocks that are set back.
const (
	lifetime = 30 * 24 * time.Hour
	setBack  = 24 * time.Hour
)

// Authority signs certificates. It is not safe for concurrent use.
type Authority struct {
	dir    string
	cert   *x509.Certificate
	pem    []byte
	key    crypto.Signer
	serial int64
}

// Identity is a certificate and its key, as PEM.
type Identity struct {
	Cert, Key []byte
}

// New makes an authority and writes its certificate to dir/ca.crt.
func New(dir string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the authority: %w", err)
	}
	a := &Authority{dir: dir, key: key}
	template := a.template(pkix.Name{CommonName: "stella-test-cluster"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read the authority back: %w", err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a, a.write("ca.crt", a.pem)
}

// Client signs a client certificate for a user in groups, as Kubernetes reads
// them: the common name and the organizations.
func (a *Authority) Client(user string, groups ...string) (Identity, error) {
	template := a.template(pkix.Name{CommonName: user, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.sign(template)
}

// Server signs a server certificate for names, which are host names or addresses.
func (a *Authority) Server(names ...string) (Identity, error) {
	template := a.template(pkix.Name{CommonName: names[0]})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.sign(template)
}

// Write writes an identity to dir/name.crt and dir/name.key.
func (a *Authority) Write(name string, id Identity) error {
	if err := a.write(name+".crt", id.Cert); err != nil {
		return err
	}
	return a.write(name+".key", id.Key)
}

// ServiceAccountKey writes a key pair that signs service account tokens to
// dir/sa.key and dir/sa.pub.
func (a *Authority) ServiceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of service accounts: %w", err)
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encode the key of service accounts: %w", err)
	}
	if err := a.write("sa.key", private); err != nil {
		return err
	}
	return a.write("sa.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

// template has what every certificate has.
func (a *Authority) template(subject pkix.Name) *x509.Certificate {
	a.serial++
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      subject,
		NotBefore:    now.Add(-setBack),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func (a *Authority) sign(template *x509.Certificate) (Identity, error) {
	name := template.Subject.CommonName
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("make the key of %s: %w", name, err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return Identity{}, fmt.Errorf("sign %s: %w", name, err)
	}
	encoded, err := encodeKey(key)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: encoded}, nil
}

func (a *Authority) write(name string, data []byte) error {
	if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
		return fmt.Errorf("write the cluster's keys: %w", err)
	}
	return nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
