package kube

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// credentials are what the server knows us by.
type credentials interface {
	// header is the value of the header Authorization, "" without one. fresh says that the
	// server refused the last one.
	header(ctx context.Context, fresh bool) (string, error)
	// certificate is for the TLS connection, nil without one.
	certificate(ctx context.Context) (*tls.Certificate, error)
}

// readAll reads at most limit bytes, and fails where there are more.
func readAll(r io.Reader, limit int64, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, nil
}

// static is a header that stays the same, or none.
type static struct{ value string }

func (s static) header(context.Context, bool) (string, error)        { return s.value, nil }
func (static) certificate(context.Context) (*tls.Certificate, error) { return nil, nil }
func bearer(token string) string                                     { return "Bearer " + strings.TrimSpace(token) }
func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// tokenAge is how long a token that was read is used: the kubelet replaces a service account's
// token long before it expires.
const tokenAge = time.Minute

// tokenFile is a token in a file that somebody renews.
type tokenFile struct {
	name string

	mu    sync.Mutex
	value string
	read  time.Time
}

func (t *tokenFile) header(_ context.Context, fresh bool) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value != "" && !fresh && time.Since(t.read) < tokenAge {
		return t.value, nil
	}
	b, err := readFile(t.name)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	t.value, t.read = bearer(string(b)), time.Now()
	return t.value, nil
}

func (*tokenFile) certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

// keyPair is a certificate and its key: what the files have, each time a connection is made, since the kubelet renews its own.
type keyPair struct {
	credentials
	cert, key source
}

// source is bytes, or the file that has them.
type source struct {
	data []byte
	file string
}

func (s source) empty() bool { return len(s.data) == 0 && s.file == "" }

func (s source) read() ([]byte, error) {
	if len(s.data) > 0 {
		return s.data, nil
	}
	return readFile(s.file)
}

func (k keyPair) certificate(context.Context) (*tls.Certificate, error) {
	cert, err := k.cert.read()
	if err != nil {
		return nil, fmt.Errorf("read the certificate to show to the API server: %w", err)
	}
	key, err := k.key.read()
	if err != nil {
		return nil, fmt.Errorf("read the key of the certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate to show to the API server, and its key: %w", err)
	}
	return &pair, nil
}
