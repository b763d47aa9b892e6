package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"stella/internal/scan/image/registry"
	"stella/internal/scan/image/registry/registrytest"
)

// anonymous keeps the credentials of whoever runs the tests out of them.
type keychain struct{ user, password string }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	if k.user == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: k.user, Password: k.password}), nil
}

func dial(t *testing.T, ref string, o registry.Options) (*registry.Client, error) {
	t.Helper()
	if o.Keychain == nil {
		o.Keychain = keychain{}
	}
	r, err := registry.Parse(ref, o.PlainHTTP)
	if err != nil {
		t.Fatal(err)
	}
	c, err := registry.Dial(t.Context(), r.Context(), o)
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func mustDial(t *testing.T, net http.RoundTripper, o registry.Options) *registry.Client {
	t.Helper()
	o.Transport = net
	c, err := dial(t, "r.test/app", o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func readBlob(t *testing.T, c *registry.Client, digest string, size int64) ([]byte, error) {
	t.Helper()
	r, err := c.Blob(t.Context(), digest, size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// times answers the first n requests for blobs with fail.
func times(n int, fail http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") || n == 0 {
			return false
		}
		n--
		fail(w, r)
		return true
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for name, test := range map[string]struct {
		header   func() string
		min, max time.Duration
	}{
		"seconds":    {func() string { return "7" }, 7 * time.Second, 8 * time.Second},
		"date":       {func() string { return time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat) }, 29 * time.Second, 31 * time.Second},
		"beyond cap": {func() string { return "86400" }, time.Minute, 61 * time.Second},
		"negative":   {func() string { return "-5" }, 0, time.Second},
		"huge":       {func() string { return "99999999999999999999" }, 0, time.Second},
		"none":       {func() string { return "" }, 100 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var g registrytest.Registry
				d := g.Blob([]byte("layer"))
				g.Before = times(1, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Retry-After", test.header())
					w.WriteHeader(http.StatusTooManyRequests)
				})
				c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{})
				start := time.Now()
				if got, err := readBlob(t, c, d, 5); err != nil || string(got) != "layer" {
					t.Fatalf("%q, %v", got, err)
				}
				if took := time.Since(start); took < test.min || took > test.max {
					t.Errorf("waited %s, want %s to %s", took, test.min, test.max)
				}
			})
		})
	}
}

func TestPassingStatusIsTriedAgain(t *testing.T) {
	for _, status := range []int{408, 425, 429, 500, 502, 503, 504} {
		synctest.Test(t, func(t *testing.T) {
			var g registrytest.Registry
			d := g.Blob([]byte("layer"))
			g.Before = times(4, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{})
			if got, err := readBlob(t, c, d, 5); err != nil || string(got) != "layer" {
				t.Errorf("%d: %q, %v", status, got, err)
			}
		})
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob([]byte("layer"))
		g.Before = times(1000, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{Attempts: 3})
		before := len(g.Requests())
		_, err := readBlob(t, c, d, 5)
		if err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") {
			t.Errorf("error %v", err)
		}
		if n := len(g.Requests()) - before; n != 3 {
			t.Errorf("%d requests, want 3", n)
		}
	})
}

func TestPermanentStatusIsNotTriedAgain(t *testing.T) {
	for status, want := range map[int]error{400: nil, 401: registry.ErrAuth, 403: registry.ErrAuth, 404: registry.ErrNotFound, 501: nil} {
		var g registrytest.Registry
		d := g.Blob(nil)
		g.Before = times(1000, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, `{"errors":[{"code":"THE_CODE","message":"what it says"}]}`)
		})
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{})
		before := len(g.Requests())
		_, err := readBlob(t, c, d, 5)
		var e *registry.Error
		if !errors.As(err, &e) || e.Status != status || want != nil && !errors.Is(err, want) {
			t.Errorf("%d: error %v", status, err)
			continue
		}
		if n := len(g.Requests()) - before; n != 1 {
			t.Errorf("%d: %d requests, want 1", status, n)
		}
		if !strings.Contains(err.Error(), "THE_CODE what it says") || !strings.Contains(err.Error(), "r.test") {
			t.Errorf("%d: error does not say what the registry said: %v", status, err)
		}
	}
}

func TestCutBlobResumes(t *testing.T) {
	data := noise(300_000)
	for _, noRange := range []bool{false, true} {
		t.Run(fmt.Sprintf("noRange=%v", noRange), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				g := registrytest.Registry{NoRange: noRange}
				d := g.Blob(data)
				cuts := 0
				g.Before = func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.Contains(r.URL.Path, "/blobs/") || cuts == 3 {
						return false
					}
					cuts++
					before := g.Before
					g.Before = nil
					defer func() { g.Before = before }()
					registrytest.Cut(&g, w, r, 70_000*cuts)
					return true
				}
				c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
				got, err := readBlob(t, c, d, int64(len(data)))
				if err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
				}
				if cuts != 3 || strings.Count(log.String(), "blob is resumed") != 3 {
					t.Errorf("%d cuts, log:\n%s", cuts, &log)
				}
			})
		})
	}
}

func TestEndlessCutsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob(noise(100_000))
		g.Before = times(1<<30, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			io.WriteString(w, "some")
			panic(http.ErrAbortHandler)
		})
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{})
		_, err := readBlob(t, c, d, 100_000)
		if err == nil || !strings.Contains(err.Error(), "cut after 4 bytes") {
			t.Errorf("error %v", err)
		}
	})
}

func TestWrongRangeIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob([]byte("0123456789"))
		g.Before = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case !strings.Contains(r.URL.Path, "/blobs/"):
				return false
			case r.Header.Get("Range") == "":
				io.WriteString(w, "0123")
				panic(http.ErrAbortHandler)
			}
			w.Header().Set("Content-Range", "bytes 2-9/10")
			w.WriteHeader(http.StatusPartialContent)
			io.WriteString(w, "23456789")
			return true
		}
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{})
		if got, err := readBlob(t, c, d, 10); err == nil || !strings.Contains(err.Error(), `"bytes 2-9/10"`) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestStallIsCutAndResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob([]byte("0123456789"))
		g.Before = times(1, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "0123")
			<-r.Context().Done()
		})
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{StallTimeout: 20 * time.Second})
		start := time.Now()
		if got, err := readBlob(t, c, d, 10); err != nil || string(got) != "0123456789" {
			t.Fatalf("%q, %v", got, err)
		}
		if took := time.Since(start); took < 20*time.Second || took > 22*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestSlowConsumerIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob(noise(100_000))
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{StallTimeout: time.Second})
		r, err := c.Blob(t.Context(), d, 100_000)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		n := 0
		for buf := make([]byte, 1000); ; time.Sleep(5 * time.Second) {
			k, err := r.Read(buf)
			if n += k; err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if n != 100_000 || len(g.Requests()) != 2 { // ping, blob
			t.Errorf("%d bytes in %d requests", n, len(g.Requests()))
		}
	})
}

func TestCloseUnblocksRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob(nil)
		g.Before = times(1000, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			<-r.Context().Done()
		})
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{StallTimeout: time.Hour})
		r, err := c.Blob(t.Context(), d, 10)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { _, err := r.Read(make([]byte, 1)); done <- err }()
		synctest.Wait()
		start := time.Now()
		r.Close()
		if err := <-done; err == nil || time.Since(start) > 0 {
			t.Errorf("Read returned %v after %s", err, time.Since(start))
		}
	})
}

func TestCancelledContextEndsBlob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob(nil)
		g.Before = times(1000, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "0123")
			<-r.Context().Done()
		})
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{StallTimeout: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := c.Blob(ctx, d, 10)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		start := time.Now()
		if got, err := io.ReadAll(r); string(got) != "0123" || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%q, %v after %s", got, err, time.Since(start))
		}
	})
}

func TestDocumentIsBounded(t *testing.T) {
	var g registrytest.Registry
	g.Manifest("application/json", bytes.Repeat([]byte("x"), 1001), "large")
	g.Manifest("application/json", bytes.Repeat([]byte("x"), 1000), "fits")
	c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{})
	if _, err := c.Manifest(t.Context(), "large", nil, 1000); !errors.Is(err, registry.ErrTooLarge) {
		t.Errorf("error %v", err)
	}
	if d, err := c.Manifest(t.Context(), "fits", nil, 1000); err != nil || len(d.Raw) != 1000 {
		t.Errorf("error %v", err)
	}
}

func TestCutDocumentIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registrytest.Registry
		d := g.Blob([]byte("0123456789"))
		g.Before = times(2, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "0123")
			panic(http.ErrAbortHandler)
		})
		c := mustDial(t, registrytest.Network{"r.test": &g}, registry.Options{})
		if got, err := c.SmallBlob(t.Context(), d, 100); err != nil || string(got) != "0123456789" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// tokens makes g ask for a bearer token, which auth.test gives for user and password. Secrets are in everything.
func tokens(g *registrytest.Registry, user, password string) http.Handler {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	g.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer secret-token" {
			return false
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="https://auth.test/token",service="r.test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != basic {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, `{"token":"secret-token"}`)
	})
}

func TestBearerToken(t *testing.T) {
	var g registrytest.Registry
	d := g.Blob([]byte("layer"))
	net := registrytest.Network{"r.test": &g, "auth.test": tokens(&g, "me", "secret-password")}
	c := mustDial(t, net, registry.Options{Keychain: keychain{"me", "secret-password"}})
	if got, err := readBlob(t, c, d, 5); err != nil || string(got) != "layer" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAuthErrorSaysWhereAndWhat(t *testing.T) {
	var g registrytest.Registry
	net := registrytest.Network{"r.test": &g, "auth.test": tokens(&g, "me", "secret-password")}
	for name, test := range map[string]struct {
		keys keychain
		want string
	}{
		"none":  {keychain{}, "no credentials for it were found in"},
		"wrong": {keychain{"me", "secret-wrong"}, "were refused"},
	} {
		_, err := dial(t, "r.test/app", registry.Options{Transport: net, Keychain: test.keys})
		if !errors.Is(err, registry.ErrAuth) || !strings.Contains(err.Error(), test.want) ||
			!strings.Contains(err.Error(), "docker login r.test") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedirectsDoNotLeak(t *testing.T) {
	var g, storage registrytest.Registry
	var log bytes.Buffer
	data := noise(50_000)
	d := storage.Blob(data)
	auth := tokens(&g, "me", "secret-password")
	authorize := g.Before
	g.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if authorize(w, r) {
			return true
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			http.Redirect(w, r, "https://storage.test/blobs/"+d+"?X-Signature=secret-signature", http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	cut := false
	storage.Before = func(w http.ResponseWriter, r *http.Request) bool {
		if !cut {
			cut = true
			w.Header().Set("Content-Length", "50000")
			w.Write(data[:20_000])
			panic(http.ErrAbortHandler)
		}
		return false
	}
	net := registrytest.Network{"r.test": &g, "auth.test": auth, "storage.test": &storage}
	c := mustDial(t, net, registry.Options{Keychain: keychain{"me", "secret-password"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if got, err := readBlob(t, c, d, 50_000); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, r := range storage.Requests() {
		for _, h := range []string{"Authorization", "Referer", "Cookie"} {
			if v := r.Header.Get(h); v != "" {
				t.Errorf("the storage host was sent %s: %s", h, v)
			}
		}
	}
	if n := len(storage.Requests()); n != 2 || storage.Requests()[1].Header.Get("Range") != "bytes=20000-" {
		t.Errorf("%d requests to the storage host", n)
	}
	storage.Before = func(w http.ResponseWriter, r *http.Request) bool { w.WriteHeader(403); return true }
	_, err := readBlob(t, c, d, 50_000)
	if err == nil || errors.Is(err, registry.ErrAuth) || !strings.Contains(err.Error(), "storage.test") {
		t.Errorf("error %v", err)
	}
	delete(net, "storage.test")
	_, err2 := readBlob(t, c, d, 50_000)
	for _, s := range []string{fmt.Sprint(err), fmt.Sprintf("%+v %v", err2, errors.Unwrap(err2)), log.String()} {
		if s == "" || strings.Contains(s, "secret") {
			t.Errorf("a secret came out, or nothing: %s", s)
		}
	}
}

func TestPlainHTTPNeedsConsent(t *testing.T) {
	var g registrytest.Registry
	plainOnly := func(req *http.Request) (*http.Response, error) {
		if req.URL.Scheme == "https" {
			return nil, http.ErrSchemeMismatch
		}
		return registrytest.Network{req.URL.Host: &g}.RoundTrip(req)
	}
	for ref, plain := range map[string][]string{
		"10.1.2.3:5000/app": nil, "192.168.7.7/app": nil, "r.test:5000/app": nil, "[fd00::1]:5000/app": {"fd00::2"},
	} {
		_, err := dial(t, ref, registry.Options{Transport: roundTrip(plainOnly), PlainHTTP: plain})
		if err == nil || len(g.Requests()) > 0 {
			t.Errorf("%s: error %v, %d requests", ref, err, len(g.Requests()))
		}
	}
	for ref, plain := range map[string][]string{
		"localhost:5000/app": nil, "127.3.4.5:5000/app": nil, "[::1]:5000/app": nil, "a.localhost/app": nil,
		"10.1.2.3:5000/app": {"10.1.2.3"}, "r.test:5000/app": {"r.test:5000"}, "[fd00::1]:5000/app": {"fd00::1"},
	} {
		if _, err := dial(t, ref, registry.Options{Transport: roundTrip(plainOnly), PlainHTTP: plain}); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRealTransport is over sockets, where Go's own transport sees cut bodies and endless headers.
func TestRealTransport(t *testing.T) {
	var g registrytest.Registry
	data := noise(200_000)
	d := g.Blob(data)
	cut, flood := false, false
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case flood && strings.Contains(r.URL.Path, "/blobs/"):
			for i := range 64 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 8<<10))
			}
		case !cut && strings.Contains(r.URL.Path, "/blobs/"):
			cut = true
			registrytest.Cut(&g, w, r, 100_000)
		}
		g.ServeHTTP(w, r)
	}))
	defer s.Close()
	c, err := dial(t, strings.TrimPrefix(s.URL, "http://")+"/app", registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readBlob(t, c, d, int64(len(data))); err != nil || !bytes.Equal(got, data) || !cut {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	flood = true
	if _, err := readBlob(t, c, d, int64(len(data))); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("half a MiB of header was taken: %v", err)
	}
}

func TestTLSIsVerifiedAndHTTP2IsOff(t *testing.T) {
	var g registrytest.Registry
	d := g.Blob([]byte("layer"))
	s := httptest.NewUnstartedServer(&g)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "https://") + "/app"
	if _, err := dial(t, ref, registry.Options{}); err == nil {
		t.Error("a certificate that nobody signed was taken")
	}
	c, err := dial(t, ref, registry.Options{SkipTLSVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readBlob(t, c, d, 5); err != nil || string(got) != "layer" {
		t.Errorf("%q, %v", got, err)
	}
	for _, r := range g.Requests() {
		if r.ProtoMajor != 1 {
			t.Errorf("%s came by %s", r.URL, r.Proto)
		}
	}
}
