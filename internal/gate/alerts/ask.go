package alerts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"stella/internal/jsonstream"
	"stella/internal/kube"
)

const (
	// maxAnswer bounds an answer, in bytes: 5,000 alerts with long descriptions have 10 MB.
	maxAnswer = 64 << 20
	// maxError bounds the answer that is an error, and headers.
	maxError = 16 << 10
	// maxFile bounds the files of the token and of the certificates, in bytes: all that a system trusts has 220 KB.
	maxFile = 1 << 20
	// dialTimeout bounds how long a connection takes to be made.
	dialTimeout = 10 * time.Second
)

var (
	errTooLarge    = errors.New("the answer is too large")
	errCredentials = errors.New("the credentials cannot be read")
)

// ask calls each with all alerts of an answer that is whole. Where it is not, some may have been given already. There is one connection for each
// question, which is every few minutes: so there is none to go bad, and renewed certificates and tokens are taken.
func ask(ctx context.Context, o Options, address *url.URL, each func(*alert)) error {
	client, err := newClient(o)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "kured-sentinel-gate")
	if o.TokenFile != "" {
		token, err := readFile(o.TokenFile)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return refusal(answer)
	}
	kind, _, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || answer.Header.Get("Content-Encoding") != "" {
		return fmt.Errorf("the answer is no JSON, but %.64q %.64q", answer.Header.Get("Content-Type"), answer.Header.Get("Content-Encoding"))
	}
	return jsonstream.Decode(ctx, &bounded{answer.Body, maxAnswer}, func(d *jsonstream.Decoder) error {
		return read(d, o.Kind, each)
	})
}

// newClient makes a client that goes nowhere but to the server, once.
func newClient(o Options) (*http.Client, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := readFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: %s has no certificates as PEM", errCredentials, o.CAFile)
		}
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:        secure,
			TLSHandshakeTimeout:    dialTimeout,
			DisableKeepAlives:      true,
			DisableCompression:     true, // what is packed small can be large
			MaxResponseHeaderBytes: maxError,
		},
	}, nil
}

// readFile reads a file of credentials.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCredentials, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errCredentials, err)
	case len(b) > maxFile:
		return nil, fmt.Errorf("%w: %s has more than %d bytes", errCredentials, name, maxFile)
	case len(strings.TrimSpace(string(b))) == 0:
		return nil, fmt.Errorf("%w: %s is empty", errCredentials, name)
	}
	return b, nil
}

// refusal is the error that an answer is, with what Prometheus says of it.
func refusal(answer *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxError)) // what could be read has to do
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) != nil {
		said.Error = ""
	}
	return &kube.StatusError{Code: answer.StatusCode, Message: said.Error}
}

// bounded is a reader that fails where there is more than so many bytes.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", errTooLarge, maxAnswer)
	}
	return n, err
}
