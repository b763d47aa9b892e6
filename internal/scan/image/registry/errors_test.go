package registry

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		`Get "https://s.test/b?X-Sig=secret&y=1": EOF`:                                   `Get "https://s.test/b": EOF`,
		`Get https://s.test/b?sig=secret: EOF`:                                           `Get https://s.test/b: EOF`,
		`invalid proxy address "http://me:secret@proxy.test:80/x@y"`:                     `invalid proxy address "http://proxy.test:80/x@y"`,
		"no token in bearer response:\n{\"refresh_token\":\"secret\"}":                   "no token in bearer response:",
		"error getting credentials - err: exit status 1, out: `{\"Secret\":\"secret\"}`": "error getting credentials - err: exit status 1",
		"a://me:secret@b c://d#secret":                                                   "a://b c://d",
		"plain":                                                                          "plain",
		"bell\a and \x1b[31mred":                                                         "bell  and  [31mred",
		"dial tcp [::1]:5000: connect: connection refused":                               "dial tcp [::1]:5000: connect: connection refused",
		`Get "https://[fd00::1]:5000/v2/": dial tcp [fd00::1]:5000: i/o timeout`:         `Get "https://[fd00::1]:5000/v2/": dial tcp [fd00::1]:5000: i/o timeout`,
	} {
		if got := scrub(errors.New(in)); got != want {
			t.Errorf("scrub(%q)\n got %q\nwant %q", in, got, want)
		}
	}
	if got := scrub(errors.New(strings.Repeat("é", 10_000))); len(got) > maxReason+3 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestBackoffGrowsAndIsCapped(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		d := backoff(failures)
		most := min(firstWait<<min(failures-1, 16), maxWait)
		if d < most/2 || d > most || d > maxWait || d < firstWait/2 {
			t.Errorf("backoff(%d) = %s", failures, d)
		}
	}
	if backoff(1) > time.Second {
		t.Error("the first retry waits too long")
	}
}

func TestRangeStart(t *testing.T) {
	for in, want := range map[string]int64{"bytes 5-9/10": 5, "bytes 0-0/*": 0, "bytes */10": -1, "": -1, "bytes 5": -1, "items 5-9/10": -1} {
		got, ok := rangeStart(in)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("rangeStart(%q) = %d, %v", in, got, ok)
		}
	}
}
