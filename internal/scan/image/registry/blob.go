package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Progress that a resumed blob must make, in bytes, for its earlier failures to be
// forgotten. It bounds how often a server can cut a blob: once per MiB.
const progress = 1 << 20

// Document is a manifest or another small answer.
type Document struct {
	Raw []byte
	// MediaType is the Content-Type as sent.
	MediaType string
	// Digest is the Docker-Content-Digest header: a claim.
	Digest string
}

// Manifest fetches the manifest or index with that tag or digest. accept are
// the media types wanted; more than limit bytes is [ErrTooLarge].
func (c *Client) Manifest(ctx context.Context, id string, accept []string, limit int64) (*Document, error) {
	subject := fmt.Sprintf("manifest %s of %s", id, c.repo.RepositoryStr())
	return c.document(ctx, subject, request{kind: "manifests", id: id, accept: strings.Join(accept, ", ")}, limit)
}

// SmallBlob fetches a blob that fits in memory; more than limit bytes is [ErrTooLarge].
func (c *Client) SmallBlob(ctx context.Context, digest string, limit int64) ([]byte, error) {
	d, err := c.document(ctx, "blob "+digest, request{kind: "blobs", id: digest}, limit)
	if err != nil {
		return nil, err
	}
	return d.Raw, nil
}

// document reads a body whole. One that is cut is asked for again from the start: it is small, and a tag may have moved.
func (c *Client) document(ctx context.Context, subject string, r request, limit int64) (*Document, error) {
	for n := 1; ; n++ {
		resp, err := c.get(ctx, subject, r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, c.statusError(subject, resp)
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
		resp.Body.Close()
		switch {
		case err == nil && int64(len(raw)) > limit:
			return nil, &Error{Registry: c.repo.RegistryStr(), Subject: subject, kind: ErrTooLarge,
				Reason: fmt.Sprintf("is larger than the %d bytes allowed for it", limit)}
		case err == nil:
			return &Document{Raw: raw, MediaType: resp.Header.Get("Content-Type"), Digest: resp.Header.Get("Docker-Content-Digest")}, nil
		case ctx.Err() != nil || n >= c.retry.attempts:
			return nil, c.failure(ctx, subject, err)
		}
		c.log.Info("registry document is read again", "subject", subject, "reason", scrub(err), "attempt", n)
		if err := sleep(ctx, backoff(n)); err != nil {
			return nil, c.failure(ctx, subject, err)
		}
	}
}

// request is one GET below the repository.
type request struct {
	kind, id string
	accept   string
	offset   int64 // first byte wanted
}

// get sends one request and returns whatever answer there is, with a body that is cut when it stalls.
func (c *Client) get(ctx context.Context, subject string, r request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address(r.kind, r.id).String(), nil)
	if err != nil {
		cancel(nil)
		return nil, c.failure(ctx, subject, err)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	// Storage hosts must send the stored bytes: digests and offsets are of those.
	req.Header.Set("Accept-Encoding", "identity")
	if r.offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", r.offset))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		err = c.failure(ctx, subject, err)
		cancel(nil)
		return nil, err
	}
	w := &watched{ctx: ctx, cancel: cancel, body: resp.Body, stall: c.stall}
	w.timer = time.AfterFunc(c.stall, func() { cancel(errStalled) })
	w.timer.Stop()
	resp.Body = w
	return resp, nil
}

// watched ends a request whose body stops coming. Only the time inside Read
// counts: a slow consumer is not a stall.
type watched struct {
	ctx    context.Context // of this one request; its cause tells a stall from a cancellation
	cancel context.CancelCauseFunc
	body   io.ReadCloser
	stall  time.Duration
	timer  *time.Timer
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.stall)
	n, err := w.body.Read(p)
	w.timer.Stop()
	if err != nil && err != io.EOF && errors.Is(context.Cause(w.ctx), errStalled) {
		err = fmt.Errorf("%w for %s", errStalled, w.stall)
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	return w.body.Close()
}

// Blob opens a blob of size bytes (-1: unknown) as a stream. When the
// connection breaks or stalls, it goes on where it was cut. The size is only
// used to see that an answer without a length was cut: the caller compares sizes.
// Close unblocks Read; ctx must live as long as the stream.
func (c *Client) Blob(ctx context.Context, digest string, size int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &blob{c: c, cancel: cancel, size: size, subject: "blob " + digest}
	b.get = func(offset int64) (*http.Response, error) {
		return c.get(ctx, b.subject, request{kind: "blobs", id: digest, offset: offset})
	}
	b.pause = func(d time.Duration) error { return sleep(ctx, d) }
	b.fail = func(err error) error { return c.failure(ctx, b.subject, err) }
	if err := b.connect(); err != nil {
		cancel()
		return nil, err
	}
	return b, nil
}

type blob struct {
	c       *Client
	subject string
	size    int64
	cancel  context.CancelFunc
	get     func(offset int64) (*http.Response, error)
	pause   func(time.Duration) error
	fail    func(error) error

	mu       sync.Mutex // held by Read; Close cancels first, so that it is soon free
	body     io.ReadCloser
	open     bool  // the body ends where the connection ends: its end may be a cut
	offset   int64 // bytes given to the caller
	skip     int64 // bytes at the start of body that the caller already has
	failures int
	resumed  int64 // offset at the last failure that counted as progress
	cut      error // why the last body ended
	err      error // what every further Read returns
}

// connect asks for the rest of the blob.
func (b *blob) connect() error {
	resp, err := b.get(b.offset)
	if err != nil {
		return err
	}
	b.skip = 0
	switch {
	case resp.StatusCode == http.StatusOK:
		b.skip = b.offset // the server ignores ranges, or none was asked for
	case resp.StatusCode == http.StatusPartialContent && b.offset > 0:
		if start, ok := rangeStart(resp.Header.Get("Content-Range")); !ok || start != b.offset {
			resp.Body.Close()
			return b.fail(fmt.Errorf("asked for bytes from %d, the server sent the range %q", b.offset, clean(resp.Header.Get("Content-Range"))))
		}
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && b.offset > 0:
		resp.Body.Close()
		return io.EOF // the blob is no longer than what was read
	default:
		return b.c.statusError(b.subject, resp)
	}
	b.body = resp.Body
	b.open = resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
	return nil
}

// rangeStart reads N of "bytes N-M/T".
func rangeStart(s string) (int64, bool) {
	s, ok := strings.CutPrefix(strings.TrimSpace(s), "bytes ")
	first, _, dash := strings.Cut(s, "-")
	n, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	return n, ok && dash && err == nil
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	for b.err == nil {
		if b.body == nil {
			if b.err = b.reconnect(); b.err != nil {
				break
			}
		}
		n, err := b.body.Read(p)
		n = b.drop(p, n)
		b.offset += int64(n)
		if err != nil {
			b.ended(err)
		}
		if n > 0 {
			return n, nil
		}
	}
	return 0, b.err
}

// drop removes from p[:n] what the caller already has.
func (b *blob) drop(p []byte, n int) int {
	have := int(min(b.skip, int64(n)))
	b.skip -= int64(have)
	return copy(p, p[have:n])
}

// ended decides, when a body is over, whether the blob is: b.err says so.
// Otherwise the next Read connects again.
func (b *blob) ended(err error) {
	b.body.Close()
	b.body = nil
	if err == io.EOF {
		if b.skip == 0 && !(b.open && b.offset < b.size) {
			b.err = io.EOF
			return
		}
		err = io.ErrUnexpectedEOF
	}
	if b.offset-b.resumed >= progress {
		b.failures = 0
		b.resumed = b.offset
	}
	b.failures++
	if b.failures >= b.c.retry.attempts {
		b.err = b.fail(fmt.Errorf("cut after %d bytes, %d times without getting further: %w", b.offset, b.failures, err))
		return
	}
	b.cut = err
}

// reconnect waits a little and asks for the rest.
func (b *blob) reconnect() error {
	wait := backoff(b.failures)
	if err := b.pause(wait); err != nil {
		return b.fail(err)
	}
	b.c.log.Info("blob is resumed", "registry", b.c.repo.RegistryStr(), "subject", b.subject,
		"offset", b.offset, "reason", scrub(b.cut), "attempt", b.failures, "waited", wait)
	return b.connect()
}

// Close ends the transfer. It may be called while another goroutine reads.
func (b *blob) Close() error {
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body != nil {
		b.body.Close()
		b.body = nil
	}
	if b.err == nil {
		b.err = errors.New("the blob was closed")
	}
	return nil
}
