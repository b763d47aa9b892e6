package apikey

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"stella/internal/listen"
)

// At a Unix socket the kernel says who it is; a key that is sent there counts all the same, and guessing is bounded.
func TestUnixSocket(t *testing.T) {
	c := newCallers("good")
	path := filepath.Join(t.TempDir(), "sock")
	l, err := listen.Unix(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		want := Peer(os.Geteuid()).String()
		if id, err := c.Identify(r); id != want || err != nil {
			t.Errorf("without a key: %q, %v, want %q", id, err, want)
		}
		r.Header.Set("Authorization", "Bearer good")
		if id, err := c.Identify(r); id != "good" || err != nil {
			t.Errorf("with a key: %q, %v", id, err)
		}
		r.Header.Set("Authorization", "Bearer wrong")
		for range 2 * failuresAtOnce {
			_, err = c.Identify(r)
		}
		if !errors.Is(err, ErrTooMany) || !c.failed.Empty(want) {
			t.Errorf("many wrong keys: %v", err)
		}
	}))
	s.Listener.Close()
	s.Listener, s.Config.ConnContext = l, ConnContext
	s.Start()
	t.Cleanup(s.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	resp, err := (&http.Client{Transport: transport}).Get("http://stella/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
