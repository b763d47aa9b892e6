package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"syscall"
)

// request is one call of the API.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   any // nil for none; sent as JSON
	accept string
	lastID string // for a stream: the last event that was seen
	once   string // idempotency key, which makes a repetition the same request; empty for none
	// again says that doing it twice is as good as once.
	again bool
}

func get(path string, query url.Values) request {
	return request{method: http.MethodGet, path: path, query: query, again: true}
}

// call sends a request, and decodes the small answer into result unless that is nil.
func (c *Client) call(ctx context.Context, r request, result any) error {
	t := tries{limit: attempts}
	for {
		err := c.once(ctx, r, result)
		if err == nil || !t.again(ctx, r, err) {
			return plain(ctx, err)
		}
	}
}

// once is one try of call.
func (c *Client) once(ctx context.Context, r request, result any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s did not answer: %w", c.address, ctx.Err())
	case err != nil:
		return &brokenError{fmt.Errorf("the answer of %s broke off: %w", c.address, err)}
	case len(body) > maxAnswer:
		return fmt.Errorf("%s answered more than %d bytes: ask for less at a time", c.address, maxAnswer)
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(body, result); err != nil {
		return fmt.Errorf("%s answered what this version does not understand: %w", c.address, err)
	}
	return nil
}

// send sends a request and returns the answer, which the caller closes, where it is what was asked for.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	if r.body != nil {
		raw, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	}
	u := *c.base
	req, err := http.NewRequestWithContext(ctx, r.method, u.String()+r.path, body)
	if err != nil {
		return nil, err
	}
	req.URL.RawQuery = r.query.Encode()
	key, err := c.secret()
	if err != nil {
		return nil, err
	}
	c.headers(req, r, key)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.failed(ctx, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, &refusedError{c.refusal(resp), resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"))}
}

// secret is the API key; empty where there is none.
func (c *Client) secret() (string, error) {
	if c.key != "" || c.keyFile == "" {
		return c.key, nil
	}
	key, err := ReadKey(c.keyFile)
	if err != nil {
		return "", fmt.Errorf("API key for %s: %w", c.address, err)
	}
	return key, nil
}

func (c *Client) headers(req *http.Request, r request, key string) {
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.lastID != "" {
		req.Header.Set("Last-Event-ID", r.lastID)
	}
	if r.once != "" {
		req.Header.Set("Idempotency-Key", r.once)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.Header.Set("User-Agent", c.agent)
}

// failed makes an error of what took the place of an answer.
func (c *Client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s did not answer: %w", c.address, ctx.Err())
	}
	if none := c.unreachable(err); none != nil {
		return none
	}
	var u *url.Error // says the request's address, which for a socket means nothing
	if errors.As(err, &u) {
		err = u.Err
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return fmt.Errorf("%s has a certificate that is not trusted; give the one that signed it as a file: %w", c.address, cert.Err)
	}
	err = fmt.Errorf("%s did not answer: %w", c.address, err)
	if isBroken(err) {
		err = &brokenError{err}
	}
	return err
}

// isBroken tells a connection that broke from what will be the same for ever, such as
// TLS spoken to plain HTTP.
func isBroken(err error) bool {
	for _, broken := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}
