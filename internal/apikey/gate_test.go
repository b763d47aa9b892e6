package apikey

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// callers is a gate for those who have a key, which is their name, and what it was asked to find.
type callers struct {
	*Gate[string]
	asked int
	err   error // of all that is found
}

func newCallers(keys ...string) *callers {
	c := &callers{}
	c.Gate = NewGate(Rules[string]{
		Command: "make-a-key",
		Peer:    Peer.String,
		Find: func(_ context.Context, text string) (string, error) {
			c.asked++
			for _, key := range keys {
				if key == text {
					return key, c.err
				}
			}
			return "somebody", ErrBadKey
		},
	})
	return c
}

func (c *callers) send(remote string, headers ...string) (string, error) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr, r.Header["Authorization"] = remote, headers
	return c.Identify(r)
}

// wrong sends wrong keys until no more are looked at, and says how many were.
func (c *callers) wrong(t *testing.T, remote string) int {
	t.Helper()
	for n := range 10 * failuresAtOnce {
		if _, err := c.send(remote, fmt.Sprintf("Bearer wrong-%d", n)); errors.Is(err, ErrTooMany) {
			return n
		} else if !errors.Is(err, ErrBadKey) {
			t.Fatalf("a wrong key: %v", err)
		}
	}
	t.Fatal("wrong keys are looked at for ever")
	return 0
}

const from = "192.0.2.7:1234"

func TestIdentify(t *testing.T) {
	for name, test := range map[string]struct {
		headers []string
		want    string
		err     error
	}{
		"a key":           {[]string{"Bearer good"}, "good", nil},
		"in lower case":   {[]string{"bearer  good "}, "good", nil},
		"none":            {nil, "", ErrNoKey},
		"a wrong one":     {[]string{"Bearer goo"}, "", ErrBadKey},
		"empty":           {[]string{""}, "", ErrBadKey},
		"another scheme":  {[]string{"Basic good"}, "", ErrBadKey},
		"without scheme":  {[]string{"good"}, "", ErrBadKey},
		"two that differ": {[]string{"Bearer good", "Bearer bad"}, "", ErrBadKey},
		"two":             {[]string{"Bearer good", "Bearer good"}, "", ErrBadKey},
	} {
		if got, err := newCallers("good").send(from, test.headers...); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := newCallers().send(from); !strings.Contains(err.Error(), "make-a-key") {
		t.Errorf("nothing says how to get a key: %v", err)
	}
}

// Who guesses is refused unread; a key that was right before is still looked at, and so are other addresses.
func TestGuessing(t *testing.T) {
	c := newCallers("good", "new")
	if _, err := c.send(from, "Bearer good"); err != nil {
		t.Fatal(err)
	}
	if n := c.wrong(t, from); n < failuresAtOnce || n > failuresAtOnce+5 {
		t.Errorf("%d wrong keys were looked at", n)
	}
	before := c.asked
	if _, err := c.send("192.0.2.7:999", "Bearer new"); !errors.Is(err, ErrTooMany) || c.asked != before {
		t.Errorf("another port of the address: %v", err)
	}
	if id, err := c.send(from, "Bearer good"); id != "good" || err != nil {
		t.Errorf("a key that was right before: %q, %v", id, err)
	}
	if _, err := c.send("192.0.2.8:1", "Bearer new"); err != nil {
		t.Errorf("another address: %v", err)
	}
}

// A key that cannot be looked up is not a wrong one, and whoever it is stays unknown.
func TestFindFails(t *testing.T) {
	c := newCallers("good")
	c.err = errors.New("the database is away")
	for range 2 * failuresAtOnce {
		if id, err := c.send(from, "Bearer good"); id != "" || !errors.Is(err, c.err) {
			t.Fatalf("%q, %v", id, err)
		}
	}
}

func TestOrigin(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1234":              "192.0.2.7",
		"[::ffff:192.0.2.7]:1":        "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:80":   "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::9]:8080": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":           "fe80::/64",
		"@":                           "@",
	} {
		if got := origin(remote); got != want {
			t.Errorf("origin(%q) = %q, want %q", remote, got, want)
		}
	}
}

func TestPeers(t *testing.T) {
	own := Peer(os.Geteuid())
	for peer, want := range map[Peer]bool{0: true, own: true, own + 1: false, own + 999: false} {
		if peer.CouldStopUs() != want || peer.String() != fmt.Sprintf("uid %d", peer) {
			t.Errorf("%s could stop us: %v, want %v", peer, !want, want)
		}
	}
}
