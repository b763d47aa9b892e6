package scanner_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/scanner"
)

func TestScopes(t *testing.T) {
	allow := map[scanner.Scope]string{"read": "read", "scan": "read scan", "incidents": "incidents", "remedies": "read incidents remedies", "admin": "read scan incidents remedies admin"}
	for _, have := range scanner.Scopes {
		for _, want := range scanner.Scopes {
			if got := have.Includes(want); got != slices.Contains(strings.Fields(allow[have]), string(want)) {
				t.Errorf("%s includes %s: %v", have, want, got)
			}
		}
		if have.Includes("") || scanner.Scope("").Includes(have) || scanner.Scope("root").Includes(have) {
			t.Errorf("%s and what is no scope", have)
		}
	}
}

func TestKeyRequest(t *testing.T) {
	hour := scanner.Duration(time.Hour)
	for _, test := range []struct {
		r    scanner.KeyRequest
		want string // a part of the error, "" for none
	}{
		{scanner.KeyRequest{Name: "ci", Scope: scanner.ScopeScan}, ""},
		{scanner.KeyRequest{Name: "ci-2", Scope: scanner.ScopeAdmin, TTL: hour}, ""},
		{scanner.KeyRequest{Scope: scanner.ScopeScan}, "no name of a key"},
		{scanner.KeyRequest{Name: "C i", Scope: scanner.ScopeScan}, "no name of a key"},
		{scanner.KeyRequest{Name: strings.Repeat("a", 64), Scope: scanner.ScopeScan}, "no name of a key"},
		{scanner.KeyRequest{Name: "ci", Scope: "root"}, "choose one of read, scan, incidents, remedies, admin"},
		{scanner.KeyRequest{Name: "ci"}, "choose one of"},
		{scanner.KeyRequest{Name: "ci", Scope: scanner.ScopeScan, TTL: scanner.Duration(time.Second)}, "at least 1m"},
	} {
		err := test.r.Check()
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !errors.Is(err, scanner.ErrInvalid)) {
			t.Errorf("%+v: %v, want %q", test.r, err, test.want)
		}
	}
}
