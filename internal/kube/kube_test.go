package kube

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// server starts an API server that answers as a test wants, with TLS and HTTP/2.
func server(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewUnstartedServer(answer)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	config, err := Kubeconfig(file(t, fmt.Sprintf(`
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: %s, certificate-authority-data: %s}}]
users: [{name: u, user: {token: secret}}]
`, s.URL, base64.StdEncoding.EncodeToString(ca))), "")
	if err != nil {
		t.Fatal(err)
	}
	c := New(config, "test/1")
	t.Cleanup(c.Close)
	return c
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func names(ctx context.Context, c *Client, q Query) ([]string, error) {
	var all []string
	err := List(ctx, c, q, func(p *Pod) error {
		all = append(all, p.Metadata.Name)
		return nil
	})
	return all, err
}

func TestListPages(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/a b/pods" || r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("User-Agent") != "test/1" || r.ProtoMajor != 2 {
			t.Errorf("%s %s %v", r.Proto, r.URL, r.Header)
		}
		q := r.URL.Query()
		if q.Get("limit") != "500" || q.Get("labelSelector") != "a=b" || q.Get("fieldSelector") != "spec.nodeName=n" {
			t.Errorf("query %v", q)
		}
		switch q.Get("continue") {
		case "":
			io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7","continue":"more"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`)
		case "more":
			// The order of keys is the server's business.
			io.WriteString(w, `{"items":[{"metadata":{"name":"c"}}],"unknown":[[{}]],"metadata":{"resourceVersion":"7"},"kind":"PodList"}`)
		}
	})
	got, err := names(t.Context(), c, Query{Resource: Pods, Namespace: "a b", Labels: "a=b", Fields: "spec.nodeName=n"})
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestListOfNothing(t *testing.T) {
	for _, answer := range []string{`{"kind":"PartialObjectMetadataList","items":null}`, `{"kind":"PodList","items":[],"metadata":{}}`} {
		c := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) })
		if got, err := names(t.Context(), c, Query{Resource: Pods, Metadata: strings.Contains(answer, "Partial")}); len(got) != 0 || err != nil {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
	}
}

func TestReadList(t *testing.T) {
	enough := errors.New("enough")
	const text = `{"apiVersion":"v1","kind":"List","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}`
	got := 0
	each := func(*Pod) error {
		if got++; got == 3 {
			return enough
		}
		return nil
	}
	if err := ReadList(strings.NewReader(text), each); err != nil || got != 2 {
		t.Errorf("%d objects, %v", got, err)
	}
	if err := ReadList(strings.NewReader(text), each); err != enough { //nolint:errorlint // the very same
		t.Error(err)
	}
	if err := ReadList(strings.NewReader("{"), each); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// The error of the caller's function comes back as it is.
func TestListStops(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"kind":"PodList","items":[{},{},{}]}`)
	})
	enough := errors.New("enough")
	n := 0
	err := List(t.Context(), c, Query{Resource: Pods}, func(*Pod) error {
		n++
		return enough
	})
	if err != enough || n != 1 { //nolint:errorlint // the very same
		t.Errorf("%d calls, %v", n, err)
	}
}

// manyMembers is an object that costs memory for each of its names.
func manyMembers() string {
	var b strings.Builder
	b.WriteString(`{"kind":"PodList"`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	return b.String() + `,"items":[]}`
}

func TestBrokenAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   string
	}{
		"ends in the middle of an item":    {`{"items":[{"metadata":{"name":"a"}},{"meta`, "unexpected EOF"},
		"ends between items":               {`{"items":[{"metadata":{"name":"a"}}`, "unexpected EOF"},
		"ends behind the items":            {`{"items":[{"metadata":{"name":"a"}}]`, "unexpected EOF"},
		"nothing":                          {``, "unexpected EOF"},
		"HTML of a proxy":                  {`<html>sign in</html>`, "invalid character '<'"},
		"no object":                        {`[]`, "no JSON object"},
		"no list":                          {`{"kind":"Pod"}`, "no list"},
		"items of another kind":            {`{"items":{}}`, "no list"},
		"an item of another kind":          {`{"items":[7]}`, "cannot unmarshal number"},
		"an amount that is none":           {`{"items":[{"spec":{"containers":[{"resources":{"limits":{"memory":"much"}}}]}}]}`, "amount of memory"},
		"an amount without end":            {`{"items":[{"spec":{"containers":[{"resources":{"limits":{"memory":"` + strings.Repeat("1", 100) + `"}}}]}}]}`, "102 characters"},
		"a page that leads to itself":      {`{"kind":"PodList","items":[],"metadata":{"continue":"x"}}`, "again and again"},
		"an empty object":                  {`{}`, "no list"},
		"null":                             {`null`, "no JSON object"},
		"a list of anything":               {`{"items":[]}`, `of kind "", and should be a PodList`},
		"a list of another kind":           {`{"items":[],"kind":"NodeList"}`, `of kind "NodeList"`},
		"a kind that is none":              {`{"items":[],"kind":7}`, "cannot unmarshal number"},
		"items that are null":              {`{"kind":"PodList","items":null}`, "no list"},
		"an item that is null":             {`{"kind":"PodList","items":[null]}`, "an item is null"},
		"items twice":                      {`{"kind":"PodList","items":[{}],"items":[]}`, `two members "items"`},
		"metadata twice":                   {`{"kind":"PodList","metadata":{"continue":"x"},"metadata":{},"items":[]}`, `two members "metadata"`},
		"continue twice":                   {`{"kind":"PodList","metadata":{"continue":"x","continue":""},"items":[]}`, `two members "continue"`},
		"metadata that is none":            {`{"kind":"PodList","metadata":"x","items":[]}`, "no JSON object"},
		"continue that is none":            {`{"kind":"PodList","metadata":{"continue":["x"]},"items":[]}`, "cannot unmarshal array"},
		"objects that are left out":        {`{"kind":"PodList","metadata":{"remainingItemCount":7},"items":[]}`, "leaves out 7 objects"},
		"two lists":                        {`{"kind":"PodList","items":[]}{"kind":"PodList","items":[{}]}`, "goes on behind its end"},
		"garbage behind":                   {`{"kind":"PodList","items":[]}<html>`, "behind the end"},
		"members without end":              {manyMembers(), "more than 64 members"},
		"more levels than anything needs":  {`{"items":[` + strings.Repeat("[", 20000), "exceeded max depth"},
		"an object that is too large":      {`{"items":[{"x":"` + strings.Repeat("x", MaxObject+1) + `"}]}`, "more than 3145728 bytes"},
		"too large, and no item":           {`{"x":"` + strings.Repeat("x", MaxObject+1) + `","items":[]}`, "more than 3145728 bytes"},
		"too much white space for nothing": {strings.Repeat(" ", MaxObject+1), "more than 3145728 bytes"},
	} {
		client := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, c.answer) })
		if _, err := names(t.Context(), client, Query{Resource: Pods, Namespace: "n"}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "list pods in namespace n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrors(t *testing.T) {
	var code atomic.Int32
	var body atomic.Value
	var header atomic.Value
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		if h := header.Load(); h != nil {
			w.Header().Set("Retry-After", h.(string))
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(code.Load()))
		io.WriteString(w, body.Load().(string))
	})
	for name, test := range map[string]struct {
		code int
		body string
		is   error
		want StatusError
	}{
		"forbidden": {403, `{"kind":"Status","reason":"Forbidden","message":"pods is forbidden: User \"u\" cannot list","code":403}`, ErrForbidden,
			StatusError{Code: 403, Reason: "Forbidden", Message: `pods is forbidden: User "u" cannot list`}},
		"not found":      {404, `{"kind":"Status","reason":"NotFound","message":"no","code":404}`, ErrNotFound, StatusError{Code: 404, Reason: "NotFound", Message: "no"}},
		"expired":        {410, `{"kind":"Status","reason":"Expired","code":410}`, ErrExpired, StatusError{Code: 410, Reason: "Expired"}},
		"a proxy":        {502, "<html>" + strings.Repeat("x", 1<<20), nil, StatusError{Code: 502}},
		"a redirection":  {302, "", nil, StatusError{Code: 302}},
		"no content":     {204, "", nil, StatusError{Code: 204}},
		"too much, busy": {429, `{"kind":"Status","code":429,"details":{"retryAfterSeconds":3}}`, nil, StatusError{Code: 429, RetryAfter: 3 * time.Second}},
		"a century":      {429, `{"kind":"Status","code":429,"details":{"retryAfterSeconds":3000000000}}`, nil, StatusError{Code: 429, RetryAfter: maxBackoff}},
	} {
		code.Store(int32(test.code))
		body.Store(test.body)
		_, err := names(t.Context(), c, Query{Resource: Pods})
		var got *StatusError
		if !errors.As(err, &got) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(test.want, *got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	header.Store("5")
	code.Store(503)
	var got *StatusError
	if _, err := Get[Pod](t.Context(), c, Query{Resource: Pods}, "p"); !errors.As(err, &got) || got.RetryAfter != 5*time.Second {
		t.Errorf("%v", err)
	}
}

func TestGet(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.EscapedPath() != "/apis/apps/v1/namespaces/n/replicasets/..%2Fx" || r.Header.Get("Accept") != "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" {
			t.Errorf("%s %v", r.URL.EscapedPath(), r.Header)
		}
		io.WriteString(w, `{"kind":"PartialObjectMetadata","metadata":{"name":"../x"}}`)
	})
	rs, err := Get[Owned](t.Context(), c, Query{Resource: ReplicaSets, Namespace: "n", Metadata: true}, "../x")
	if err != nil || rs.Metadata.Name != "../x" {
		t.Errorf("%+v, %v", rs, err)
	}
	if _, err := Get[Owned](t.Context(), c, Query{Resource: ReplicaSets}, ""); err == nil {
		t.Error("a list was taken for an object")
	}
}

// A list costs one object, however many there are.
func TestListIsFlat(t *testing.T) {
	const size, pages = 16 << 10, 5
	filler := strings.Repeat("x", size)
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		var page int
		fmt.Sscan(r.URL.Query().Get("continue"), &page)
		next := ""
		if page < pages-1 {
			next = fmt.Sprint(page + 1)
		}
		fmt.Fprintf(w, `{"kind":"PodList","metadata":{"resourceVersion":"1","continue":%q},"items":[`, next)
		for i := range pageSize {
			if i > 0 {
				io.WriteString(w, ",")
			}
			fmt.Fprintf(w, `{"metadata":{"name":"pod-%d","managedFields":%q}}`, i, filler)
		}
		io.WriteString(w, "]}")
	})
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var n int
	var first, most uint64
	err := List(t.Context(), c, Query{Resource: Pods}, func(*Pod) error {
		switch n++; {
		case n == 10:
			first = live()
		case n%pageSize == pageSize/2:
			most = max(most, live())
		}
		return nil
	})
	if err != nil || n != pages*pageSize {
		t.Fatalf("%d objects, %v", n, err)
	}
	// The server, in this process too, has buffers of its own.
	if grown := int64(most) - int64(first); grown > 1<<20 {
		t.Errorf("%d objects of %d bytes held %d bytes more than the first ten", n, size, grown)
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]Bytes{`"64Mi"`: 64 << 20, `128974848`: 128974848, `"129M"`: 129e6, `"1500m"`: 2, `"1e3"`: 1000, `null`: 0, `0`: 0, `"0"`: 0} {
		var b Bytes
		if err := json.Unmarshal([]byte(text), &b); err != nil || b != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
	}
	for _, text := range []string{`""`, `"much"`, `{}`, `[]`, `true`} {
		var b Bytes
		if err := json.Unmarshal([]byte(text), &b); err == nil {
			t.Errorf("%s: %d", text, b)
		}
	}
}

func TestWorkload(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/apis/apps/v1/namespaces/n/replicasets/web-1":
			io.WriteString(w, `{"kind":"PartialObjectMetadata","metadata":{"name":"web-1","uid":"1","ownerReferences":[{"kind":"Deployment","name":"web","controller":true}]}}`)
		case "/apis/batch/v1/namespaces/n/jobs/once":
			io.WriteString(w, `{"kind":"PartialObjectMetadata","metadata":{"name":"once","uid":"2"}}`)
		default:
			w.WriteHeader(404)
		}
	})
	owned := func(kind, name, uid string) *Metadata {
		return &Metadata{Namespace: "n", Owners: []Owner{{Kind: "Config", Name: "x"}, {Kind: kind, Name: name, UID: uid, Controller: true}}}
	}
	for _, test := range []struct {
		m    *Metadata
		want string
		err  error
	}{
		{owned("ReplicaSet", "web-1", "1"), "Deployment/web", nil},
		{owned("ReplicaSet", "web-1", "made again"), "ReplicaSet/web-1", nil},
		{owned("ReplicaSet", "gone", "1"), "ReplicaSet/gone", ErrNotFound},
		{owned("Job", "once", "2"), "Job/once", nil},
		{owned("DaemonSet", "d", "3"), "DaemonSet/d", nil},
		{&Metadata{Owners: []Owner{{Kind: "Node", Name: "x"}}}, "", nil},
	} {
		got, err := Workload(t.Context(), c, test.m)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%+v: %q, %v", test.m, got, err)
		}
	}
}
