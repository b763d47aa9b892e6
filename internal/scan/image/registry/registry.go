// Package registry reads manifests and blobs from one repository of a
// container registry (the OCI distribution API), as streams that survive a bad
// network, and pushes what is kept beside an image.
//
// The parts, from the wire up: a dialer that refuses addresses that are not
// allowed (addresses.go), a guard that refuses plain HTTP where nobody allowed it,
// retries of single requests (retry.go), the token handshake of
// go-containerregistry, and blobs that resume where they were cut (blob.go);
// writing is in push.go.
//
// Hazards:
//
//   - Nothing that a server sends is trusted: bodies, headers, redirects and
//     waits are bounded. Digests are NOT verified here; the caller does that.
//   - Credentials must not reach other hosts, logs or errors. Every error text goes
//     through scrub, since addresses of blobs are signed: their query is a credential.
//   - HTTP/2 is off on purpose: Go's client keeps up to 4 MiB of unread body per
//     stream in the process, while HTTP/1.1 leaves it in the kernel until it is wanted.
package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// maxHeader bounds response headers, in bytes; Go's own default is 10 MiB.
	maxHeader = 256 << 10
	// maxPing bounds the body of the handshake's first answer, in bytes, which
	// go-containerregistry drains whole.
	maxPing = 64 << 10
	// maxRedirects is how many hosts may stand between registry and blob.
	maxRedirects = 10

	connectTimeout = 15 * time.Second
	helperTimeout  = time.Minute
)

// Options are how registries are reached. The zero value is ready to use.
type Options struct {
	// Transport replaces the HTTP transport; SkipTLSVerify then changes nothing,
	// and Addresses is applied to addresses in URLs alone.
	Transport http.RoundTripper
	// Keychain gives credentials; nil means Docker's config.json with its credential helpers, or Podman's auth.json.
	Keychain authn.Keychain
	// UserAgent is sent with each request.
	UserAgent string
	// PlainHTTP names registries ("host" or "host:port") that may be spoken to
	// without TLS when they do not speak it. Loopback addresses always may.
	PlainHTTP []string
	// SkipTLSVerify accepts any certificate.
	SkipTLSVerify bool
	// Addresses limits where connections may lead; nil does not.
	Addresses *Addresses
	// Push asks for access to write as well.
	Push bool
	// StallTimeout is how long a server may send nothing before the connection
	// is given up and tried again; 0 means 30 seconds.
	StallTimeout time.Duration
	// Attempts is how often one request, or one cut blob without progress, is tried; 0 means 5.
	Attempts int
	// Log takes retries and resumptions; nil discards them.
	Log *slog.Logger
}

// Client reads from one repository, and writes to it where [Options] say Push. It is safe for concurrent use.
type Client struct {
	repo      name.Repository
	http      *http.Client
	base      http.RoundTripper
	ownBase   bool
	retry     *retrier
	stall     time.Duration
	log       *slog.Logger
	anonymous bool
	sources   string // where credentials were looked for
}

// Dial makes a client for repo and does the handshake: it finds the scheme
// and, where the registry wants one, a token. The errors are of type *Error.
func Dial(ctx context.Context, repo name.Repository, o Options) (*Client, error) {
	c := &Client{
		repo:  repo,
		base:  o.Transport,
		stall: cmp.Or(o.StallTimeout, 30*time.Second),
		log:   cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
	}
	if c.base == nil {
		c.base, c.ownBase = newTransport(&o, c.stall), true
	}
	auth, err := c.credentials(ctx, o.Keychain)
	if err != nil {
		return nil, err
	}
	plain := IsPlain(repo.RegistryStr(), o.PlainHTTP)
	c.retry = &retrier{
		inner:    &guard{inner: c.base, plain: plain, addresses: o.Addresses},
		attempts: cmp.Or(o.Attempts, 5),
		log:      c.log,
	}
	scope := repo.Scope(transport.PullScope)
	if o.Push {
		scope = repo.Scope(transport.PushScope) // which is to push and to pull
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, transport.NewUserAgent(c.retry, o.UserAgent), []string{scope})
	if err != nil {
		c.Close()
		return nil, c.failure(ctx, "log in", err)
	}
	c.http = &http.Client{Transport: rt, CheckRedirect: c.redirect}
	return c, nil
}

// Close gives idle connections back. Blobs that are being read are not cut.
func (c *Client) Close() error {
	if t, ok := c.base.(*http.Transport); ok && c.ownBase {
		t.CloseIdleConnections()
	}
	return nil
}

func newTransport(o *Options, stall time.Duration) *http.Transport {
	dialer := net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            o.Addresses.dial(dialer, proxies(http.ProxyFromEnvironment)),
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  stall,
		IdleConnTimeout:        time.Minute,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: maxHeader,
		// Otherwise Go would unpack bodies itself, and digests would not match.
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	if o.SkipTLSVerify {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	}
	return t
}

// credentials asks the keychain in a goroutine of its own, because credential
// helpers are programs that may hang and know no context. One that hangs is left behind.
func (c *Client) credentials(ctx context.Context, k authn.Keychain) (authn.Authenticator, error) {
	c.sources = "the credentials given to Stella"
	if k == nil {
		k, c.sources = authn.DefaultKeychain, defaultSources()
	}
	type answer struct {
		auth authn.Authenticator
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	done := make(chan answer, 1)
	go func() {
		auth, err := authn.Resolve(ctx, k, c.repo)
		done <- answer{auth, err}
	}()
	select {
	case a := <-done:
		if a.err != nil {
			return nil, &Error{Registry: c.repo.RegistryStr(), Subject: "credentials", kind: ErrAuth,
				Reason: "cannot be read from " + c.sources + ": " + scrub(a.err)}
		}
		c.anonymous = a.auth == authn.Anonymous
		return a.auth, nil
	case <-ctx.Done():
		return nil, &Error{Registry: c.repo.RegistryStr(), Subject: "credentials", cause: ctx.Err(),
			Reason: "the credential helper named in " + c.sources + " did not answer"}
	}
}

// defaultSources says where authn.DefaultKeychain looks.
func defaultSources() string {
	dir := os.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "~"
		}
		dir = filepath.Join(home, ".docker")
	}
	return filepath.Join(dir, "config.json") + " with its credential helpers, or Podman's auth.json"
}

// redirect keeps what belongs to the registry from the hosts it sends us to.
// The Referer would hand one signed address to the next host.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return errors.New("too many redirects")
	}
	req.Header.Del("Referer")
	if req.URL.Host != via[0].URL.Host {
		req.Header.Del("Authorization")
	}
	return nil
}

func (c *Client) address(kind, id string) *url.URL {
	return &url.URL{Scheme: "https", Host: c.repo.RegistryStr(), Path: "/v2/" + c.repo.RepositoryStr() + "/" + kind + "/" + id}
}
