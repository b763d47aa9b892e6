package client

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/scanner"
)

func newTest(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// serving is a client of a server on loopback.
func serving(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return newTest(t, Options{Address: server.URL, Key: "stella_secret", UserAgent: "test/1"})
}

func TestAddresses(t *testing.T) {
	for address, ok := range map[string]bool{
		"unix:///run/stella/stellad.sock": true, "https://scanner.example:8443": true, "http://127.0.0.1:80/": true, "https://[::1]:8443": true,
		"": false, "/run/stella/stellad.sock": false, "unix://run/sock": false, "unix:run/sock": false, "ftp://x": false, "scanner:8443": false,
		"https://": false, "https://x/v1": false, "https://x?key=hunter2": false, "https://me:hunter2@x": false, "https://x:port\n": false,
	} {
		_, err := New(Options{Address: address})
		if (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "unix:///PATH")) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// Where nobody serves, the error says so, at once, and what to do.
func TestNoServer(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	tcp := httptest.NewServer(nil)
	tcp.Close()
	for address, want := range map[string]string{
		"unix://" + filepath.Join(dir, "none"): "does not exist",
		"unix://" + stale:                      "nobody listens",
		tcp.URL:                                "nobody listens",
		"http://host.invalid:80":               "check the address",
	} {
		c := newTest(t, Options{Address: address})
		begun := time.Now()
		_, err := c.Status(t.Context())
		var e *NoServerError
		if !errors.Is(err, ErrNoServer) || !errors.As(err, &e) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "stella up") || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
		if err := c.Events(t.Context(), 1, 0, nil); !errors.Is(err, ErrNoServer) {
			t.Errorf("%s: events: %v", address, err)
		}
		if took := time.Since(begun); address != "http://host.invalid:80" && took > time.Second {
			t.Errorf("%s: only after %v", address, took)
		}
	}
	c := newTest(t, Options{Address: "unix:///x"})
	err = c.failed(t.Context(), &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)})
	if !errors.Is(err, ErrNoServer) || !errors.Is(err, scanner.ErrDenied) || !strings.Contains(err.Error(), "may not open the socket") {
		t.Errorf("without permission: %v", err)
	}
}

func TestHeaders(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer stella_secret" || r.UserAgent() != "test/1" {
			t.Errorf("headers %v", r.Header)
		}
		io.WriteString(w, "{}")
	})
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// Names end up in one segment of the path, whatever is in them.
func TestPathsAreEscaped(t *testing.T) {
	var path string
	c := serving(t, func(w http.ResponseWriter, r *http.Request) { path = r.URL.EscapedPath(); io.WriteString(w, "{}") })
	for name, want := range map[string]string{"a": "a", "../keys": "..%2Fkeys", "a?b=c#d": "a%3Fb=c%23d"} {
		if err := c.RemovePool(t.Context(), name); err != nil || path != "/v1/pools/"+want {
			t.Errorf("%q: %s, %v", name, path, err)
		}
	}
}

// Answers that are no scanner service's.
func TestStrangeAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		h    http.HandlerFunc
		want string
		kind error
	}{
		"a page":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); io.WriteString(w, "<html>") }, "does the scanner service listen there?", scanner.ErrNotFound},
		"success":    {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, "does not understand", nil},
		"a teapot":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }, "418", nil},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "302", nil},
		"a huge one": {func(w http.ResponseWriter, _ *http.Request) {
			for range 17 {
				w.Write(make([]byte, 1<<20))
			}
		}, "more than", nil},
		"a huge problem": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(409)
			io.WriteString(w, `{"detail":"`+strings.Repeat("x", 50<<10)+`"}`)
		}, "xxx…", scanner.ErrConflict},
		"escapes": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(422)
			io.WriteString(w, `{"detail":"\u001b[2J\u202e no","errors":[{"message":"too\nlong","location":"body.image"}]}`)
		}, " [2J  no; body.image: too long", scanner.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := serving(t, test.h).Status(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 8<<10 || test.kind != nil && !errors.Is(err, test.kind) {
				t.Errorf("%.300v", err)
			}
		})
	}
}

// The key goes to the server that was named, and no other.
func TestKeyDoesNotFollowRedirects(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("it was sent to another server: %v", r.Header) }))
	defer other.Close()
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Status(t.Context()); err == nil || strings.Contains(err.Error(), "stella_secret") {
		t.Errorf("got %v", err)
	}
}

func TestCAFile(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"version":"3"}`) }))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, err := newTest(t, Options{Address: server.URL, CAFile: file}).Status(t.Context()); err != nil || status.Version != "3" {
		t.Errorf("%+v, %v", status, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := newTest(t, Options{Address: server.URL}).Status(ctx); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
	if _, err := New(Options{Address: server.URL, CAFile: "/none"}); err == nil {
		t.Error("a missing file was taken")
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Address: server.URL, CAFile: file}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("an empty file: %v", err)
	}
}

// A document that breaks off is an error, though a part of it was written.
func TestSBOMBreaksOff(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, 64<<10))
		panic(http.ErrAbortHandler)
	})
	var document bytes.Buffer
	if err := c.SBOM(t.Context(), 1, "", &document); err == nil || document.Len() == 0 {
		t.Errorf("%d bytes, %v", document.Len(), err)
	}
}
