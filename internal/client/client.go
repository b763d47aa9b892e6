// Package client talks to this project's services over a Unix socket or TCP: [Client] to a scanner service,
// by the HTTP API of docs/http-api.md, [Agent] to a node's agent, and [Rdev] to an rdev-api (docs/rdev.md).
//
// They have a method for each thing that the service does. Their errors are
// those that the service made: errors.Is tells [scanner.ErrNotFound] and its like
// apart as it does on the server. Where there is no server, the error matches
// [ErrNoServer] and says what to do.
//
// What only reads is tried again when the connection breaks or the server is busy, and so
// is [Client.Submit], since requests for one digest share a job (an image without a
// digest, from an archive or a directory, may so be scanned twice), and [Rdev.Run]. Nothing else is
// tried again, unless the server refused it unread. A server that cannot be reached in the
// first place is not waited for.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	// answerTimeout is for the whole of a small answer. A submission waits meanwhile for
	// the image's registry, which has a minute.
	answerTimeout = 2 * time.Minute
	// maxAnswer is the most bytes of a small answer: a page of jobs has 500, with
	// references and messages of up to 4 KiB each.
	maxAnswer = 16 << 20
)

// Options say which server to talk to, and as whom.
type Options struct {
	// Address is unix:///PATH, https://HOST:PORT, or http://HOST:PORT, which sends
	// the key so that everybody on the way can read it.
	Address string
	// Key is the API key; empty on a Unix socket, where the server knows the user.
	Key string
	// KeyFile has the API key where Key is empty. It is read at each request, so that a new key counts at once.
	KeyFile string
	// CAFile has the certificates, in PEM, that may have signed the server's; "" is the system's.
	CAFile string
	// UserAgent is sent with each request, such as "stella/1.2".
	UserAgent string
	// Away is told why a stream that broke off cannot be taken up again, after some seconds of trying, which goes on; nil
	// tells nobody. It must not block.
	Away func(why error)
}

// Client talks to one server. It may be used by several goroutines.
type Client struct {
	http      *http.Client
	transport *http.Transport
	base      *url.URL
	address   string
	key       string
	keyFile   string
	agent     string
	away      func(error)
	peer      peer
}

// peer is what serves at an address, in the words of errors.
type peer struct {
	name string
	// start says how somebody gets one.
	start string
	// refused makes the error of an answer that is no success; nil is that the status says nothing about the request.
	refused func(status int, text string) error
	// comebacks is how often in a row a stream is taken up again without any event coming.
	comebacks int
}

var scannerService = peer{
	name: "scanner service", start: "start one with stella up, or give the address of one that runs", refused: refusedByScanner, comebacks: comebacks,
}

// New makes a client of a scanner service. It does not connect: the first request does.
func New(o Options) (*Client, error) { return dial(o, scannerService) }

func dial(o Options, p peer) (*Client, error) {
	u, err := url.Parse(o.Address)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, badAddress(o.Address, p)
	}
	c := &Client{key: o.Key, keyFile: o.KeyFile, agent: o.UserAgent, away: o.Away, address: o.Address, peer: p}
	c.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // streams come as they are made
	}
	switch {
	case u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		socket := u.Path
		c.base = &url.URL{Scheme: "http", Host: "localhost"}
		c.transport.Proxy = nil
		c.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", socket)
		}
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && (u.Path == "" || u.Path == "/"):
		c.base = &url.URL{Scheme: u.Scheme, Host: u.Host}
	default:
		return nil, badAddress(o.Address, p)
	}
	if c.transport.TLSClientConfig, err = trust(o.CAFile); err != nil {
		return nil, err
	}
	c.http = &http.Client{
		Transport: c.transport,
		// The API redirects nobody, and the key is for this server alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes connections that are not in use.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

func badAddress(s string, p peer) error {
	return fmt.Errorf("%q is no address of a %s: write unix:///PATH, https://HOST:PORT or http://HOST:PORT", bare(s), p.name)
}

// bare is an address that may be shown: without the user and password that somebody put in it.
func bare(s string) string {
	if u, err := url.Parse(s); err == nil {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return u.String()
	}
	return "what was given"
}

// trust is a configuration that takes the certificates of a file, "" for the system's.
func trust(file string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return config, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("certificates that the server is checked with: %w", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return config, nil
}
