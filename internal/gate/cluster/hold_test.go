package cluster

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
)

func TestHold(t *testing.T) {
	hold := func(text string) string { return fmt.Sprintf(`"annotations":{"gate.stella/hold":%q`, text) }
	all := func(text string) string { return hold(text) + "}" }
	testCases(t, "hold", map[string]testCase{
		"all are held":                {leasePath, `"annotations":{}`, all(`{"reason":"a move","by":"ann","until":"` + ago(-time.Hour) + `"}`), nil, ReasonHeld, "ann holds all nodes: a move"},
		"the hold has ended":          {leasePath, `"annotations":{}`, all(`{"reason":"a move","until":"` + ago(time.Hour) + `"}`), nil, "", "ended"},
		"a hold that is empty":        {leasePath, `"annotations":{}`, all(``), nil, ReasonUnreadable, "cannot be read"},
		"a hold that is null":         {leasePath, `"annotations":{}`, all(`null`), nil, ReasonUnreadable, "cannot be read"},
		"a hold of nobody":            {leasePath, `"annotations":{}`, all(`{"reason":"x"}`), nil, ReasonHeld, "somebody holds all nodes until it is released: x"},
		"no annotations":              {leasePath, `"annotations":{}`, `"annotations":null`, nil, "", "nobody"},
		"annotations of another type": {leasePath, `"annotations":{}`, `"annotations":[]`, nil, ReasonBadAnswer, "another kind"},
		"a Lease of another name":     {leasePath, `"kured-sentinel-gate"`, `"other"`, nil, ReasonBadAnswer, `the object "other"`},
	})
}

func TestHoldOfANode(t *testing.T) {
	for text, want := range map[string]string{
		`{"reason":"a move","by":"ann"}`:                                 ReasonHeld,
		`{"reason":"a move","until":"` + ago(-time.Hour) + `"}`:          ReasonHeld,
		`{"reason":"a move","until":"` + ago(time.Second) + `"}`:         "",
		`{"reason":"a move","until":"tomorrow"}`:                         ReasonUnreadable,
		`{"reason":""}`:                                                  ReasonUnreadable,
		`{"reason":"x"} and more`:                                        ReasonUnreadable,
		`{"reason":"` + strings.Repeat("x", gate.MaxAnnotation) + `"}`:   ReasonUnreadable,
		`{"reason":"` + strings.Repeat("x", 3*gate.MaxAnnotation) + `"}`: ReasonBadAnswer,
	} {
		w := world()
		w[ownPath] = strings.Replace(w[ownPath], `"annotations":{`, fmt.Sprintf(`"annotations":{"gate.stella/hold":%q,`, text), 1)
		r := run(t.Context(), serve(t, w), defaults(t), "hold")[0]
		if r.Reason != want || (r.Outcome == gate.Pass) != (want == "") {
			t.Errorf("%.60s: %+v", text, r)
		}
		if until := strings.Contains(text, "until"); want == ReasonHeld && (until != !r.Until.IsZero() || until && time.Until(r.Until) < 30*time.Minute) {
			t.Errorf("%s: until %v", text, r.Until)
		}
	}
}

// Where there is no Lease, nobody can hold all nodes by it. Only the API server knows that.
func TestNoLease(t *testing.T) {
	w := world()
	delete(w, leasePath)
	if r := run(t.Context(), serve(t, w), defaults(t), "hold")[0]; r.Outcome != gate.Pass || !strings.Contains(r.Detail, "no Lease gates/kured-sentinel-gate") {
		t.Errorf("%+v", r)
	}
	proxy := server(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == leasePath {
			rw.WriteHeader(http.StatusNotFound)
			io.WriteString(rw, "<html>404 page not found</html>")
			return
		}
		io.WriteString(rw, w[r.URL.Path])
	})
	if r := run(t.Context(), proxy, defaults(t), "hold")[0]; r.Outcome != gate.Unknown || r.Reason != ReasonNotFound {
		t.Errorf("%+v", r)
	}
}

// A hold that ends does so by the server's clock, whatever ours shows.
func TestHoldEndsByTheServersClock(t *testing.T) {
	w := world()
	w[leasePath] = `{"kind":"Lease","metadata":{"name":"kured-sentinel-gate","annotations":{"gate.stella/hold":"{\"reason\":\"x\",\"until\":\"` + ago(-time.Hour) + `\"}"}}}`
	for date, want := range map[string]string{
		time.Now().UTC().Format(http.TimeFormat):                       ReasonHeld,
		time.Now().Add(30 * time.Minute).UTC().Format(http.TimeFormat): ReasonHeld,
		time.Now().Add(61 * time.Minute).UTC().Format(http.TimeFormat): "",
		"never": ReasonNoClock,
	} {
		c := server(t, func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == leasePath {
				rw.Header().Set("Date", date)
			}
			io.WriteString(rw, w[r.URL.Path])
		})
		if r := run(t.Context(), c, defaults(t), "hold")[0]; r.Reason != want {
			t.Errorf("%s: %+v", date, r)
		}
	}
}
