package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// tryTime bounds a try, from the name's resolution to the answer. A receiver that takes longer should answer first and work then.
	tryTime = 10 * time.Second
	// dialTime and handshakeTime bound its beginning.
	dialTime, handshakeTime = 5 * time.Second, 5 * time.Second
	// maxAnswer is how many bytes of an answer are read, so that its connection can be used again; maxHeaders is for its headers.
	maxAnswer, maxHeaders = 4 << 10, 16 << 10
)

// schemeKey is for the dialer, which is not told.
type schemeKey struct{}

// newClient makes a client that reaches only what the options allow.
func newClient(o Options) *http.Client {
	dialer := &net.Dialer{
		Timeout: dialTime,
		// With the address that is connected to, of each try of each name.
		ControlContext: func(ctx context.Context, network, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || !strings.HasPrefix(network, "tcp") {
				return fmt.Errorf("webhooks do not call %s %s", network, address)
			}
			scheme, _ := ctx.Value(schemeKey{}).(string)
			return o.check(at.Addr(), scheme)
		},
	}
	return &http.Client{
		Timeout: tryTime,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    handshakeTime,
			ResponseHeaderTimeout:  tryTime,
			MaxResponseHeaderBytes: maxHeaders,
			// A connection that is kept was checked when it was made. The scheme is of the connection, too.
			MaxIdleConns:    workers,
			IdleConnTimeout: 30 * time.Second,
			// Nothing of an answer is looked at, so nothing is to be unpacked.
			DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// answer is what a receiver said: its status, and when it wants to be asked again.
type answer struct {
	status int
	after  time.Duration
}

// post sends a delivery once.
func (s *Sender) post(ctx context.Context, d delivery) (answer, error) {
	secrets, err := readSecrets(s.o.SecretFile)
	if err != nil {
		return answer{}, err
	}
	u, err := url.Parse(d.url)
	if err != nil {
		return answer{}, errors.New("its URL cannot be read")
	}
	ctx = context.WithValue(ctx, schemeKey{}, u.Scheme)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, strings.NewReader(d.body))
	if err != nil {
		return answer{}, withoutURL(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "stella-rdev")
	request.Header.Set("Stella-Delivery", strconv.FormatInt(d.id, 10))
	request.Header.Set("Stella-Event", EventEnded)
	request.Header.Set("Stella-Signature", Sign(secrets, time.Now(), []byte(d.body)))
	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer response.Body.Close()
	// An answer that is longer, or breaks off, costs its connection, no more.
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer)
	return answer{response.StatusCode, retryAfter(response)}, nil
}

// withoutURL leaves out the URL of an error, whose path is often secret.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// retryAfter is what a receiver that has too much to do asks for, in seconds; dates are left to our own pauses.
func retryAfter(r *http.Response) time.Duration {
	if r.StatusCode != http.StatusTooManyRequests && r.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	seconds, err := strconv.ParseUint(r.Header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxPause)
}
