package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"stella/internal/bytesize"
	"stella/internal/oom"
)

const (
	// maxMetrics bounds an answer with metrics: those of a large API server have some 4 MiB, mostly histograms. Nothing of it is held but one line.
	maxMetrics = 8 << 20
	// metricsTime and heapTime bound one answer. The runtime stops the world for milliseconds to write a heap profile.
	metricsTime, heapTime = 5 * time.Second, 15 * time.Second
	// maxHeader bounds the header of an answer.
	maxHeader = 16 << 10
)

// fetcher asks, within bounds. It goes nowhere but to the address in the URL.
type fetcher struct {
	http  *http.Client
	agent string
}

func newFetcher(agent string) *fetcher {
	return &fetcher{agent: agent, http: &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // of this machine's environment, none is for pods
			DialContext:            (&net.Dialer{Timeout: metricsTime}).DialContext,
			DisableKeepAlives:      true, // a connection each half a minute is cheaper than one that stays
			DisableCompression:     true, // the limits are about what is read
			MaxResponseHeaderBytes: maxHeader,
			WriteBufferSize:        1 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get gives the body of an answer to read, which sees an error behind most bytes.
func (f *fetcher) get(ctx context.Context, address, accept string, wait time.Duration, most int64, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("there was no answer, or not all of it, within %v", wait))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", f.agent)
	req.Header.Set("Accept", accept)
	resp, err := f.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return f.failed(ctx, address, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode/100 == 3:
		return fmt.Errorf("%s redirects, which is not followed: name the address that it leads to", address)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers with status %d", address, resp.StatusCode)
	}
	if err := read(&capped{resp.Body, most, most}); err != nil {
		return f.failed(ctx, address, err)
	}
	return nil
}

// failed says of what, and that time was over where that is why.
func (f *fetcher) failed(ctx context.Context, address string, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w", address, err)
}

// gauges reads metrics.
func (f *fetcher) gauges(ctx context.Context, address string) (values map[string]float64, err error) {
	err = f.get(ctx, address, "text/plain;version=0.0.4", metricsTime, maxMetrics, func(body io.Reader) error {
		values, err = exposition(ctx, body)
		return err
	})
	return values, err
}

// heap reads a heap profile.
func (f *fetcher) heap(ctx context.Context, address string, to io.Writer) error {
	return f.get(ctx, address, "*/*", heapTime, oom.MaxHeap, func(body io.Reader) error {
		var magic [2]byte
		if _, err := io.ReadFull(body, magic[:]); err != nil {
			return err
		}
		if magic != [2]byte{0x1f, 0x8b} {
			return errors.New("this is no heap profile as runtime/pprof writes it (gzip); is the path right, and without ?debug=1")
		}
		if _, err := to.Write(magic[:]); err != nil {
			return err
		}
		_, err := io.Copy(to, body)
		return err
	})
}

// capped is a reader that fails behind a number of bytes.
type capped struct {
	io.Reader
	left, most int64
}

// Read implements io.Reader.
func (c *capped) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, fmt.Errorf("it answers more than %s", bytesize.Text(c.most))
	}
	return n, err
}
