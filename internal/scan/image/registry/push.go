package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// Upload stores a blob of size bytes unless the repository has it. content is
// called for each try, and gives the blob from its beginning.
func (c *Client) Upload(ctx context.Context, digest string, size int64, content func() io.Reader) error {
	subject := "upload of blob " + digest
	resp, err := c.send(ctx, subject, push{method: http.MethodHead, address: c.address("blobs", digest)})
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	if resp, err = c.send(ctx, subject, push{method: http.MethodPost, address: c.address("blobs", "uploads/")}); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return c.statusError(subject, resp)
	}
	resp.Body.Close()
	at, err := resp.Request.URL.Parse(resp.Header.Get("Location"))
	if err != nil {
		return c.failure(ctx, subject, fmt.Errorf("the registry sent no address to upload to: %w", err))
	}
	query := at.Query()
	query.Set("digest", digest)
	at.RawQuery = query.Encode()
	resp, err = c.send(ctx, subject, push{method: http.MethodPut, address: at, mediaType: "application/octet-stream", size: size, content: content})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return c.statusError(subject, resp)
	}
	return resp.Body.Close()
}

// PutManifest stores a manifest or an index under its digest or a tag. It reports
// whether the registry has taken note of the manifest's subject (the header
// OCI-Subject, OCI distribution specification 1.1); where it has not, the caller must.
func (c *Client) PutManifest(ctx context.Context, id, mediaType string, raw []byte) (noted bool, err error) {
	subject := fmt.Sprintf("push of manifest %s to %s", id, c.repo.RepositoryStr())
	resp, err := c.send(ctx, subject, push{
		method: http.MethodPut, address: c.address("manifests", id), mediaType: mediaType,
		size: int64(len(raw)), content: func() io.Reader { return bytes.NewReader(raw) },
	})
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusCreated {
		return false, c.statusError(subject, resp)
	}
	return resp.Header.Get("OCI-Subject") != "", resp.Body.Close()
}

// push is one request that writes.
type push struct {
	method    string
	address   *url.URL
	mediaType string
	size      int64
	content   func() io.Reader // nil is none
}

// send sends one request and returns whatever answer there is.
func (c *Client) send(ctx context.Context, subject string, p push) (*http.Response, error) {
	sending, cancel := context.WithCancelCause(ctx)
	stalled := time.AfterFunc(c.stall, func() { cancel(errStalled) })
	stalled.Stop()
	req, err := http.NewRequestWithContext(sending, p.method, p.address.String(), nil)
	if err != nil {
		cancel(nil)
		return nil, c.failure(ctx, subject, err)
	}
	if p.content != nil {
		req.ContentLength = p.size
		req.Header.Set("Content-Type", p.mediaType)
		req.GetBody = func() (io.ReadCloser, error) {
			return io.NopCloser(&flowing{p.content(), stalled, c.stall}), nil
		}
		req.Body, _ = req.GetBody()
	}
	resp, err := c.http.Do(req)
	stalled.Stop()
	if err != nil {
		if errors.Is(context.Cause(sending), errStalled) {
			err = fmt.Errorf("%w for %s", errStalled, c.stall)
		}
		err = c.failure(ctx, subject, err)
		cancel(nil)
		return nil, err
	}
	w := &watched{ctx: sending, cancel: cancel, body: resp.Body, stall: c.stall}
	w.timer = time.AfterFunc(c.stall, func() { cancel(errStalled) })
	w.timer.Stop()
	resp.Body = w
	return resp, nil
}

// flowing is a body that is being sent: a server that takes nothing of it for too
// long is given up. After the last byte the wait for the answer has its own bound.
type flowing struct {
	io.Reader
	stalled *time.Timer
	stall   time.Duration
}

func (f *flowing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != nil {
		f.stalled.Stop()
	} else {
		f.stalled.Reset(f.stall)
	}
	return n, err
}
