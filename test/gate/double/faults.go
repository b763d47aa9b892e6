package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"time"
)

// slowness is more than a gate of the tests waits for.
const slowness = time.Minute

// chunk is of what never ends.
var chunk = make([]byte, 64<<10)

func init() {
	for i := range chunk {
		chunk[i] = 'x'
	}
}

// answers are the faults: what is answered in the place of next.
var answers = map[string]func(w http.ResponseWriter, r *http.Request, next http.Handler){
	"cut": func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
	"401": refuse(http.StatusUnauthorized, "Unauthorized"),
	"403": refuse(http.StatusForbidden, "Forbidden"),
	"404": refuse(http.StatusNotFound, "NotFound"),
	"429": refuse(http.StatusTooManyRequests, "TooManyRequests"),
	"500": refuse(http.StatusInternalServerError, "InternalError"),
	"empty": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
	},
	// A whole HTTP answer, of half a document.
	"truncated": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		whole := httptest.NewRecorder()
		next.ServeHTTP(whole, r)
		w.Header().Set("Content-Type", whole.Header().Get("Content-Type"))
		w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
	},
	"wrong type": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"kind":["List"],"apiVersion":"v1","metadata":"none","items":{"0":{}},"status":"success","data":{"alerts":{}}}`)
	},
	"slow": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-r.Context().Done():
		case <-time.After(slowness):
			next.ServeHTTP(w, r)
		}
	},
	"huge": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"kind":"`)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	},
	// Whoever follows it gets the right answer.
	"redirect": func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		const followed = "followed"
		q := r.URL.Query()
		if q.Has(followed) {
			next.ServeHTTP(w, r)
			return
		}
		q.Set(followed, "")
		http.Redirect(w, r, r.URL.Path+"?"+q.Encode(), http.StatusFound)
	},
}

func refuse(code int, reason string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { status(w, code, reason) }
}

// status is an error as an API server says it.
func status(w http.ResponseWriter, code int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","reason":%q,"message":"the double says so","code":%d}`, reason, code)
}

// faulty puts faults in the place of answers.
func (c *cluster) faulty(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if answer := answers[c.told().Faults[r.Method+" "+r.URL.Path]]; answer != nil {
			answer(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// throttled is faulty that takes its time.
func (c *cluster) throttled(next http.Handler) http.Handler {
	next = c.faulty(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ms := c.told().Latency; ms > 0 {
			time.Sleep(rand.N(2 * time.Duration(ms) * time.Millisecond))
		}
		next.ServeHTTP(w, r)
	})
}
