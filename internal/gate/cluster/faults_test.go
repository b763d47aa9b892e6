package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"stella/internal/gate"
	"stella/internal/kube"
)

// fault is how an answer can be wrong. text is what the right one would be; giveUp has the client's patience end, and waits until it has gone.
type fault func(rw http.ResponseWriter, text string, giveUp func())

func code(status int) fault {
	return func(rw http.ResponseWriter, text string, _ func()) {
		rw.Header().Set("Location", "/healthy")
		rw.WriteHeader(status)
		io.WriteString(rw, text) // what is right is not taken from an answer that is an error
	}
}

func answer(change func(text string) string) fault {
	return func(rw http.ResponseWriter, text string, _ func()) { io.WriteString(rw, change(text)) }
}

func always(text string) fault { return answer(func(string) string { return text }) }

// rename makes an answer one about another kind of objects.
func rename(text string) string {
	kind := text[len(`{"kind":"`):strings.Index(text, `",`)]
	return strings.Replace(text, kind, "Other"+kind, 1)
}

var faults = map[string]struct {
	fault fault
	want  []string // reasons
}{
	"refused":         {func(rw http.ResponseWriter, _ string, _ func()) { cut(rw, "") }, []string{ReasonUnreachable}},
	"broken off":      {func(rw http.ResponseWriter, text string, _ func()) { cut(rw, text[:len(text)/2]) }, []string{ReasonUnreachable, ReasonBadAnswer}},
	"301":             {code(301), []string{ReasonRedirected}},
	"307":             {code(307), []string{ReasonRedirected}},
	"400":             {code(400), []string{ReasonBadAnswer}},
	"401":             {code(401), []string{ReasonUnauthorized}},
	"403":             {code(403), []string{ReasonForbidden}},
	"404":             {code(404), []string{ReasonNotFound}},
	"410":             {code(410), []string{ReasonBadAnswer}},
	"429":             {code(429), []string{ReasonThrottled}},
	"500":             {code(500), []string{ReasonServerError}},
	"503":             {code(503), []string{ReasonServerError}},
	"204":             {code(204), []string{ReasonBadAnswer}},
	"empty":           {always(""), []string{ReasonBadAnswer}},
	"an empty object": {always("{}"), []string{ReasonBadAnswer}},
	"null":            {always("null"), []string{ReasonBadAnswer}},
	"an empty list":   {always("[]"), []string{ReasonBadAnswer}},
	"a text":          {always(`"healthy"`), []string{ReasonBadAnswer}},
	"a Status":        {always(`{"kind":"Status","status":"Success"}`), []string{ReasonBadAnswer}},
	"HTML":            {always("<html>sign in</html>"), []string{ReasonBadAnswer}},
	"truncated":       {answer(func(s string) string { return s[:len(s)-2] }), []string{ReasonBadAnswer}},
	"another kind":    {answer(rename), []string{ReasonBadAnswer}},
	"no kind":         {answer(func(s string) string { return `{"x"` + s[len(`{"kind"`):] }), []string{ReasonBadAnswer}},
	"items null":      {answer(func(s string) string { return strings.Replace(s, `"items":[`, `"items":null,"x":[`, 1) }), []string{ReasonBadAnswer, ""}},
	"items twice":     {answer(func(s string) string { return strings.Replace(s, `"items":[`, `"items":[],"items":[`, 1) }), []string{ReasonBadAnswer, ""}},
	"an item null":    {answer(func(s string) string { return strings.Replace(s, `"items":[`, `"items":[null,`, 1) }), []string{ReasonBadAnswer, ""}},
	"an item a text":  {answer(func(s string) string { return strings.Replace(s, `"items":[`, `"items":["x",`, 1) }), []string{ReasonBadAnswer, ""}},
	"a page is lost":  {answer(func(s string) string { return strings.Replace(s, `"resourceVersion":"1"`, `"remainingItemCount":1`, 1) }), []string{ReasonBadAnswer, ""}},
	"pages garbage":   {answer(func(s string) string { return strings.Replace(s, `"resourceVersion":"1"`, `"continue":"\u0000%"`, 1) }), []string{ReasonBadAnswer, ""}},
	"more behind":     {answer(func(s string) string { return s + s }), []string{ReasonBadAnswer}},
	"huge":            {huge, []string{ReasonTooLarge}},
	"huge, and text":  {answer(func(s string) string { return s + strings.Repeat(" ", 2*kube.MaxObject) }), []string{ReasonTooLarge}},
	"slow":            {func(_ http.ResponseWriter, _ string, giveUp func()) { giveUp() }, []string{ReasonTimeout}},
	"stops": {func(rw http.ResponseWriter, text string, giveUp func()) {
		io.WriteString(rw, text[:len(text)-1])
		rw.(http.Flusher).Flush()
		giveUp()
	}, []string{ReasonTimeout}},
}

// cut breaks a connection off.
func cut(rw http.ResponseWriter, text string) {
	if text != "" {
		io.WriteString(rw, text)
		rw.(http.Flusher).Flush()
	}
	panic(http.ErrAbortHandler)
}

// huge has an object without end.
func huge(rw http.ResponseWriter, text string, _ func()) {
	io.WriteString(rw, text[:len(text)-1]+`,"x":"`)
	for range 2 * kube.MaxObject / 4096 {
		if _, err := io.WriteString(rw, strings.Repeat("x", 4096)); err != nil {
			return
		}
	}
	io.WriteString(rw, `"}`)
}

// No check passes on a wrong answer to any of its questions; and each says why it cannot tell.
func TestFaults(t *testing.T) {
	healthy := world()
	o := defaults(t)
	o.claims.IgnoreUnplaced = true
	var wg sync.WaitGroup
	for check, asked := range paths {
		for _, path := range asked {
			for name, f := range faults {
				wg.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					client := server(t, func(rw http.ResponseWriter, r *http.Request) {
						if r.URL.Path != path {
							io.WriteString(rw, healthy[r.URL.Path])
							return
						}
						f.fault(rw, healthy[path], func() {
							cancel()
							<-r.Context().Done()
						})
					})
					defer cancel()
					r := run(ctx, client, o, check)[0]
					if list := strings.Contains(healthy[path], `"items"`); !list && f.want[len(f.want)-1] == "" {
						return // it is about lists
					}
					ok := false
					for _, want := range f.want {
						ok = ok || want != "" && r.Reason == want
					}
					if r.Outcome != gate.Unknown || !ok || r.Detail == "" {
						t.Errorf("%s, %s of %s: %+v; want %v", check, name, path, r, f.want)
					}
				})
			}
			wg.Wait()
		}
	}
}

// Nobody listens.
func TestRefused(t *testing.T) {
	s := httptest.NewServer(nil)
	client := clientOf(t, s.URL)
	s.Close()
	for check := range paths {
		if r := run(t.Context(), client, defaults(t), check)[0]; r.Outcome != gate.Unknown || r.Reason != ReasonUnreachable {
			t.Errorf("%s: %+v", check, r)
		}
	}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		ReasonTimeout:      fmt.Errorf("x: %w", context.DeadlineExceeded),
		ReasonTooLarge:     fmt.Errorf("x: %w", kube.ErrTooLarge),
		ReasonUnauthorized: func() error { _, err := ReadBoot("/nowhere"); return err }(), // as of a token
		ReasonBadAnswer:    errors.New("x"),
		ReasonHeld:         fmt.Errorf("x: %w", because(ReasonHeld, errors.New("y"))),
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// A thousand nodes and twenty thousand pods cost no more than a few.
func TestMemoryIsFlat(t *testing.T) {
	filler := `"spec":{"x":"` + strings.Repeat("x", 2<<10) + `",`
	first, most := uint64(0), uint64(0)
	client := server(t, func(rw http.ResponseWriter, r *http.Request) {
		kind, count, item := "Pod", 20_000, strings.Replace(podJSON("calico-system", "NAME", ""), `"spec":{`, filler, 1)
		if r.URL.Path == nodesPath {
			kind, count, item = "Node", 1000, strings.Replace(nodeJSON("NAME", ownBoot, ""), `"spec":{`, filler, 1)
		}
		from, next := 0, ""
		fmt.Sscan(r.URL.Query().Get("continue"), &from)
		if from+500 < count {
			next = fmt.Sprint(from + 500)
		}
		fmt.Fprintf(rw, `{"kind":"%sList","metadata":{"continue":%q},"items":[`, kind, next)
		for i := from; i < min(from+500, count); i++ {
			if i > from {
				io.WriteString(rw, ",")
			}
			io.WriteString(rw, strings.Replace(item, "NAME", fmt.Sprint("n", i), 1))
			if i == from+250 { // while the client reads what was written
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
				first = cmp.Or(first, m.HeapAlloc)
			}
		}
		io.WriteString(rw, "]}")
	})
	o := defaults(t)
	o.workloads = o.workloads[:1]
	for _, r := range run(t.Context(), client, o, "nodes", "workloads") {
		if r.Outcome != gate.Pass || !strings.Contains(r.Detail, "1000 nodes") && !strings.Contains(r.Detail, "20000") {
			t.Errorf("%+v", r)
		}
	}
	t.Logf("%d bytes of heap more than in the first page", most-first)
	if most-first > 1<<20 { // with what the server has, which is in this process
		t.Errorf("%d bytes of heap more than in the first page", most-first)
	}
}
