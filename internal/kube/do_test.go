package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const aLease = `{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"l","namespace":"n","uid":"7"}}`

var oneLease = Query{Resource: Leases, Namespace: "n"}

// What is sent for each method, and what comes back.
func TestDo(t *testing.T) {
	body := map[string]string{"a": "b"}
	for name, test := range map[string]struct {
		request Request
		want    string // method, URL, media types, body
	}{
		"get":   {Request{Method: "GET", Name: "l"}, "GET /apis/coordination.k8s.io/v1/namespaces/n/leases/l application/json "},
		"make":  {Request{Method: "POST", Body: body}, `POST /apis/coordination.k8s.io/v1/namespaces/n/leases application/json application/json{"a":"b"}`},
		"put":   {Request{Method: "PUT", Name: "l", Body: body, DryRun: true}, `PUT /apis/coordination.k8s.io/v1/namespaces/n/leases/l?dryRun=All application/json application/json{"a":"b"}`},
		"patch": {Request{Method: "PATCH", Name: "l", Body: body}, `PATCH /apis/coordination.k8s.io/v1/namespaces/n/leases/l application/json application/merge-patch+json{"a":"b"}`},
		"operations": {
			Request{Method: "PATCH", Name: "l", Body: Operations{{"test", "/a", []byte(`"b"`)}, {Op: "remove", Path: "/a"}}, Manager: "stella", DryRun: true},
			`PATCH /apis/coordination.k8s.io/v1/namespaces/n/leases/l?dryRun=All&fieldManager=stella application/json application/json-patch+json[{"op":"test","path":"/a","value":"b"},{"op":"remove","path":"/a"}]`,
		},
		"delete": {Request{Method: "DELETE", Name: "l"}, "DELETE /apis/coordination.k8s.io/v1/namespaces/n/leases/l application/json "},
		"below":  {Request{Method: "PATCH", Name: "../l", Below: "sta/tus", Body: body}, `PATCH /apis/coordination.k8s.io/v1/namespaces/n/leases/..%2Fl/sta%2Ftus application/json application/merge-patch+json{"a":"b"}`},
	} {
		t.Run(name, func(t *testing.T) {
			c := server(t, func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				if got := fmt.Sprintf("%s %s %s %s%s", r.Method, r.URL, r.Header.Get("Accept"), r.Header.Get("Content-Type"), text); got != test.want || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("got  %s %v\nwant %s", got, r.Header, test.want)
				}
				io.WriteString(w, aLease)
			})
			test.request.Query = oneLease
			got, _, err := Do[Owned](t.Context(), c, test.request)
			if err != nil || got.Metadata.UID != "7" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// Only a whole object of that kind and name is an answer.
func TestDoIsNotToldAnything(t *testing.T) {
	for name, test := range map[string]struct{ answer, want string }{
		"nothing":             {``, "unexpected EOF"},
		"an empty object":     {`{}`, "no kind"},
		"null":                {`null`, "no kind"},
		"a list":              {`[]`, "no kind"},
		"another kind":        {`{"kind":"Status","metadata":{"name":"l"}}`, `of kind "Status", and should be a Lease`},
		"a kind elsewhere":    {`{"Kind":"Lease","metadata":{"name":"l"}}`, "no kind"},
		"a kind that is none": {`{"kind":["Lease"],"metadata":{"name":"l"}}`, "no kind"},
		"another object":      {`{"kind":"Lease","metadata":{"name":"m"}}`, `the object "m"`},
		"no name":             {`{"kind":"Lease"}`, `the object ""`},
		"cut off":             {aLease[:60], "unexpected EOF"},
		"two":                 {aLease + aLease, "goes on"},
		"HTML":                {`<html>`, "invalid character '<'"},
		"HTML behind":         {aLease + `<html>`, "invalid character '<'"},
		"of another type":     {`{"kind":"Lease","metadata":{"name":"l","uid":7}}`, "cannot unmarshal number"},
		"too large":           {`{"kind":"Lease","metadata":{"name":"l","x":"` + strings.Repeat("x", MaxObject) + `"}}`, "more than 3145728 bytes"},
		"white space":         {aLease + strings.Repeat(" ", MaxObject), "more than 3145728 bytes"},
	} {
		c := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, test.answer) })
		got, _, err := Do[Owned](t.Context(), c, Request{Method: "GET", Query: oneLease, Name: "l"})
		if got != nil || err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "GET l of the leases in namespace n: ") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, _, err := Do[Owned](t.Context(), server(t, nil), Request{Method: "DELETE", Query: oneLease}); err == nil {
		t.Error("all leases were deleted")
	}
	if _, _, err := Do[Owned](t.Context(), server(t, nil), Request{Method: "POST", Query: oneLease, Body: func() {}}); err == nil {
		t.Error("a function was sent")
	}
}

func TestDoFails(t *testing.T) {
	for code, is := range map[int]error{302: nil, 307: nil, 401: nil, 403: ErrForbidden, 404: ErrNotFound, 409: ErrConflict, 410: ErrExpired, 429: nil, 500: nil, 504: nil} {
		var asked atomic.Int32
		c := server(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			io.WriteString(w, aLease)
		})
		got, _, err := Do[Owned](t.Context(), c, Request{Method: "PUT", Query: oneLease, Name: "l", Body: 1})
		var status *StatusError
		if got != nil || !errors.As(err, &status) || status.Code != code || is != nil && !errors.Is(err, is) {
			t.Errorf("%d: %+v, %v", code, got, err)
		}
		if want := map[bool]int32{false: 1, true: 2}[code == 401]; asked.Load() != want { // a change is not made again on a guess
			t.Errorf("%d: asked %d times", code, asked.Load())
		}
	}
	// The same body is sent with the credentials that were renewed.
	var bodies []string
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		if bodies = append(bodies, string(text)); len(bodies) == 1 {
			w.WriteHeader(401)
		}
		io.WriteString(w, aLease)
	})
	_, _, err := Do[Owned](t.Context(), c, Request{Method: "PUT", Query: oneLease, Name: "l", Body: 1})
	if diff := cmp.Diff([]string{"1", "1"}, bodies); diff != "" || err != nil {
		t.Error(err, diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Do[Owned](ctx, c, Request{Method: "GET", Query: oneLease, Name: "l"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The server's clock is between Earliest and Latest, whatever ours shows and however long the answer takes.
func TestMoment(t *testing.T) {
	for _, there := range []time.Duration{0, 3 * time.Second, time.Minute} {
		for _, back := range []time.Duration{0, 900 * time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				const skew = -17*time.Minute + 300*time.Millisecond
				c, _ := bubbled(t, func(w http.ResponseWriter, _ *http.Request) {
					time.Sleep(there)
					w.Header().Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
					time.Sleep(back)
					io.WriteString(w, aLease)
				})
				_, m, err := Do[Owned](t.Context(), c, Request{Method: "GET", Query: oneLease, Name: "l"})
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					now := time.Now()
					real := now.Add(skew)
					early, late := m.Earliest(now), m.Latest(now)
					if early.After(real) || late.Before(real) || late.Sub(early) > there+back+time.Second {
						t.Errorf("%v there, %v back: between %v and %v, really %v", there, back, early, late, real)
					}
					time.Sleep(700 * time.Millisecond)
				}
			})
		}
	}
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", "yesterday")
		io.WriteString(w, aLease)
	})
	if _, m, err := Do[Owned](t.Context(), c, Request{Method: "GET", Query: oneLease, Name: "l"}); err != nil || !m.Server.IsZero() {
		t.Errorf("%+v, %v", m, err)
	}
}

// Pages that lead in a circle come to an end.
func TestListInACircle(t *testing.T) {
	asked := 0
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprintf(w, `{"kind":"PodList","metadata":{"continue":"%d"},"items":[]}`, asked%2)
	})
	if _, err := names(t.Context(), c, Query{Resource: Pods}); err == nil || asked != maxPages {
		t.Errorf("%d pages, %v", asked, err)
	}
}
