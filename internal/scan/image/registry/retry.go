package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	firstWait = 250 * time.Millisecond
	maxWait   = 10 * time.Second
	// maxRetryAfter caps what a server may ask for: beyond it a person should know.
	maxRetryAfter = time.Minute
	// maxDrain is how much of a refused answer is read, in bytes, to keep its connection.
	maxDrain = 4 << 10
)

// retrier repeats requests that failed for reasons that pass. It stands below
// the authentication, so that handshakes and token requests are repeated too.
type retrier struct {
	inner    http.RoundTripper
	attempts int
	log      *slog.Logger
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	for n := 1; ; n++ {
		resp, err := r.inner.RoundTrip(req)
		if n >= r.attempts || !passing(req, resp, err) || !rewind(req) {
			return resp, err
		}
		wait := backoff(n)
		reason := ""
		if err != nil {
			reason = scrub(err)
		} else {
			reason = statusText(resp.StatusCode)
			wait = max(wait, retryAfter(resp.Header.Get("Retry-After"), time.Now()))
			_, _ = io.CopyN(io.Discard, resp.Body, maxDrain) // so that the connection can be used again
			resp.Body.Close()
		}
		r.log.Info("registry request is tried again", "host", req.URL.Host, "reason", reason, "attempt", n, "wait", wait)
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// passing reports whether an answer, or the lack of one, may be better next time.
func passing(req *http.Request, resp *http.Response, err error) bool {
	if req.Context().Err() != nil {
		return false
	}
	if err != nil {
		return isSafe(req) && brokenConnection(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true // the server says that it did nothing, so that a POST for a token is safe too
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return isSafe(req)
	}
	return false
}

func isSafe(req *http.Request) bool {
	return req.Method == http.MethodGet || req.Method == http.MethodHead
}

// rewind makes the request's body, where it has one, ready to be sent again.
func rewind(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	if req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	if err != nil {
		return false
	}
	req.Body = body
	return true
}

// brokenConnection tells accidents of the network from answers that will be the
// same for ever: a bad certificate, a name that does not exist, TLS spoken to plain HTTP.
func brokenConnection(err error) bool {
	var (
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		auth x509.UnknownAuthorityError
		rec  tls.RecordHeaderError
		pl   *plainError
	)
	switch {
	case errors.As(err, &cert), errors.As(err, &auth), errors.As(err, &rec), errors.As(err, &pl), errors.Is(err, http.ErrSchemeMismatch):
		return false
	case errors.As(err, &dns):
		return dns.IsTemporary || dns.IsTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EPIPE),
		errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// backoff doubles from one failure to the next. Half of it is random, so that many scanners do
// not come back at once.
func backoff(failures int) time.Duration {
	d := min(firstWait<<min(failures-1, 16), maxWait)
	return d/2 + rand.N(d/2+1)
}

// retryAfter reads the header in both its forms, seconds and an HTTP date (RFC 9110, 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if s, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(s)*time.Second, maxRetryAfter)
	}
	if t, err := http.ParseTime(value); err == nil {
		return min(max(t.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
