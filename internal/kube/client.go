package kube

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Client talks to one API server. It may be used by several goroutines.
type Client struct {
	config    Config
	agent     string
	transport *http.Transport
	http      *http.Client
	upgrades  *http.Client // for HTTP/1 alone, which connections can be made something else of
}

// New makes a client. It does not connect: the first request does. userAgent is how the server's log names us, such as "stella-agent/1.2".
func New(config Config, userAgent string) *Client {
	c := &Client{config: config, agent: userAgent}
	secure := config.tls.Clone()
	secure.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := config.who.certificate(info.Context())
		if pair == nil && err == nil {
			pair = &tls.Certificate{} // says that there is none
		}
		return pair, err
	}
	c.transport = &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:       secure,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       2 * time.Minute,
		ForceAttemptHTTP2:     true,
		// Packing a list costs the server more than it saves here.
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxError,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout,
			MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: 4 * window,
		},
	}
	if config.proxy != nil {
		c.transport.Proxy = http.ProxyURL(config.proxy)
	}
	plain := c.transport.Clone()
	plain.ForceAttemptHTTP2, plain.HTTP2, plain.Protocols = false, nil, new(http.Protocols)
	plain.Protocols.SetHTTP1(true)
	// An API server redirects nobody, and the credentials are for it alone.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &http.Client{Transport: c.transport, CheckRedirect: stay}
	c.upgrades = &http.Client{Transport: plain, CheckRedirect: stay}
	return c
}

// Close closes connections that are not in use.
func (c *Client) Close() {
	c.http.CloseIdleConnections()
	c.upgrades.CloseIdleConnections()
}

// Namespace is the one to work in where nobody names another.
func (c *Client) Namespace() string { return c.config.Namespace }

// Server is the address of the API server.
func (c *Client) Server() string { return c.config.Server.String() }

// Get reads one object into a T. An answer that is no whole object of that kind and name is an error.
func Get[T any](ctx context.Context, c *Client, q Query, name string) (*T, error) {
	object, _, err := Do[T](ctx, c, Request{Method: http.MethodGet, Query: q, Name: name})
	return object, err
}

// accept is the media type to ask for.
func accept(metadata bool, as string) string {
	if metadata {
		return "application/json;as=" + as + ";g=meta.k8s.io;v=v1"
	}
	return "application/json"
}

// get is a request that succeeds, or an error. The caller closes the body.
func (c *Client) get(ctx context.Context, path string, query url.Values, accept string) (io.ReadCloser, error) {
	answer, err := c.again(func(fresh bool) (*http.Response, error) { return c.send(ctx, path, query, accept, fresh) })
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		return nil, readStatus(answer)
	}
	return answer.Body, nil
}

// again sends a request, and once more where our credentials are not taken: they can have been renewed since they were read.
func (c *Client) again(send func(fresh bool) (*http.Response, error)) (*http.Response, error) {
	answer, err := send(false)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		return answer, err
	}
	answer.Body.Close()
	c.transport.CloseIdleConnections() // a connection keeps its certificate, so make a new one
	return send(true)
}

func (c *Client) send(ctx context.Context, path string, query url.Values, accept string, fresh bool) (*http.Response, error) {
	r, err := c.request(ctx, path, query, fresh)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", accept)
	return c.http.Do(r)
}

// request is one with who we are. fresh reads that anew.
func (c *Client) request(ctx context.Context, path string, query url.Values, fresh bool) (*http.Request, error) {
	u := c.config.Server.JoinPath(path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", c.agent)
	who, err := c.config.who.header(ctx, fresh)
	if err != nil {
		return nil, err
	}
	if who != "" {
		r.Header.Set("Authorization", who)
	}
	if as := c.config.as; as.user != "" {
		r.Header.Set("Impersonate-User", as.user)
		if as.uid != "" {
			r.Header.Set("Impersonate-Uid", as.uid)
		}
		for _, g := range as.groups {
			r.Header.Add("Impersonate-Group", g)
		}
	}
	return r, nil
}

// status is what an API server says of an error.
type status struct {
	Kind    string `json:"kind"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Code    int    `json:"code"`
	Details struct {
		RetryAfterSeconds int `json:"retryAfterSeconds"`
	} `json:"details"`
}

func (s status) error(code int) *StatusError {
	return &StatusError{
		Code: code, Reason: s.Reason, Message: s.Message,
		RetryAfter: min(time.Duration(max(s.Details.RetryAfterSeconds, 0))*time.Second, maxBackoff),
	}
}

// readStatus is the error that an answer is. What is not from an API server, but from a proxy before it, may be any text.
func readStatus(answer *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxError)) // what could be read has to do
	var s status
	if json.Unmarshal(text, &s) != nil || s.Kind != "Status" {
		s = status{}
	}
	e := s.error(answer.StatusCode)
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = min(time.Duration(seconds)*time.Second, maxBackoff)
	}
	return e
}

// budget is a reader that gives an object's bytes, and fails where there are more.
type budget struct {
	r          io.Reader
	read, upTo int64
}

// next allows [MaxObject] bytes from where the decoder is, some of which it may have read already.
func (b *budget) next(d *json.Decoder) { b.upTo = d.InputOffset() + MaxObject }

func (b *budget) Read(p []byte) (int, error) {
	left := b.upTo - b.read
	if left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := b.r.Read(p[:min(int64(len(p)), left)])
	b.read += int64(n)
	return n, err
}
