package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"stella/internal/scanner"
)

// raw sends bytes to the server and returns its first answer.
func (run *running) raw(t *testing.T, text string) *http.Response {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(run.tcp, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go io.WriteString(conn, text) // the server may not want all of it
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, run.tcp, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// No such request reaches the service, and each is answered with a problem.
func TestHostileRequests(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeAdmin)
	large := `{"image":"` + strings.Repeat("x", 70<<10) + `"}`
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/v1/jobs", large, 413},
		{"GET", "/v1/status", large, 413},
		{"POST", "/v1/jobs", `{"image":"` + strings.Repeat("x", 5000) + `"}`, 422},
		{"POST", "/v1/jobs", ``, 400},
		{"POST", "/v1/jobs", `{`, 400},
		{"POST", "/v1/jobs", `[]`, 422},
		{"POST", "/v1/jobs", `null`, 422},
		{"POST", "/v1/jobs", `{"image":""}`, 422},
		{"POST", "/v1/jobs", `{"image":1}`, 422},
		{"POST", "/v1/jobs", `{"image":"a","imgae":"b"}`, 422},
		{"POST", "/v1/jobs", `{"image":"a","timeout":"soon"}`, 422},
		{"POST", "/v1/jobs", `{"image":"a","timeout":"-5m"}`, 422},
		{"POST", "/v1/jobs", strings.Repeat("[", 60<<10), 400},
		{"GET", "/v1/jobs/0", "", 422},
		{"GET", "/v1/jobs/-1", "", 422},
		{"GET", "/v1/jobs/abc", "", 422},
		{"GET", "/v1/jobs/99999999999999999999", "", 422},
		{"GET", "/v1/jobs/7%00", "", 422},
		{"GET", "/v1/jobs?limit=501", "", 422},
		{"GET", "/v1/jobs?limit=0", "", 422},
		{"GET", "/v1/jobs?status=failed,done", "", 422},
		{"GET", "/v1/jobs?since=yesterday", "", 422},
		{"GET", "/v1/jobs?state=failed", "", 422},
		{"GET", "/v1/stats?last=ten", "", 422},
		{"GET", "/v1/stats?last=-1h", "", 422},
		{"GET", "/v1/logs?tail=5001", "", 422},
		{"GET", "/v1/logs?level=loud", "", 422},
		{"GET", "/v1/jobs/7/events?after=-1", "", 422},
		{"PUT", "/v1/pools/Large", `{"memory":1,"count":1}`, 422},
		{"PUT", "/v1/pools/..%2f..%2fkeys", `{"memory":1,"count":1}`, 404},
		{"PUT", "/v1/pools/a%2fb", `{"memory":1,"count":1}`, 422},
		{"PUT", "/v1/pools/a", `{"memory":-1,"count":1}`, 422},
		{"PUT", "/v1/pools/a", `{"memory":1e300,"count":1}`, 422},
		{"PUT", "/v1/pools/a", `{"memory":1,"count":100000}`, 422},
		{"PUT", "/v1/settings/worker.count", `{"value":"` + strings.Repeat("9", 300) + `"}`, 422},
		{"POST", "/v1/keys", `{"name":"x","scope":"root"}`, 422},
		{"POST", "/v1/keys", `{"name":"X y","scope":"read"}`, 422},
		{"POST", "/v1/keys", `{"name":"x","scope":"read","ttl":"1s"}`, 422},
		{"GET", "/v1/jobs/../keys", "", 404},
		{"GET", "//v1/keys", "", 404},
		{"GET", "/v1/jobs/", "", 404},
		{"GET", "/v1/jobs/%2e%2e/keys", "", 404},
		{"GET", "/", "", 404},
		{"GET", "/docs", "", 404},
		{"GET", "/openapi.yaml", "", 404},
		{"GET", "/schemas/Job.json", "", 404},
		{"GET", "/debug/pprof/", "", 404},
		{"PATCH", "/v1/jobs", "", 405},
		{"DELETE", "/v1/jobs/7", "", 405},
		{"TRACE", "/v1/status", "", 405},
	} {
		resp := run.do(t, test.method, test.path, key, test.body)
		wantProblem(t, resp, test.want)
		if test.want == 405 && resp.Header.Get("Allow") == "" {
			t.Errorf("%s %s: nothing says which methods there are", test.method, test.path)
		}
	}
	if run.count() != 0 {
		t.Errorf("the service was called: %v", run.calls)
	}
}

// What http.Client would not send.
func TestHostileBytes(t *testing.T) {
	run := start(t)
	auth := "Authorization: Bearer " + run.key(t, scanner.ScopeAdmin) + "\r\n"
	for name, test := range map[string]struct {
		text string
		want int
	}{
		"long headers":      {"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"many headers":      {"GET /v1/status HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 10<<10) + "\r\n", 431},
		"a long path":       {"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", 431},
		"no HTTP":           {"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400},
		"endless chunks":    {"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n", 8), 413},
		"a promised GiB":    {"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 1073741824\r\n\r\n" + strings.Repeat("x", 70<<10), 413},
		"two lengths":       {"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		"a broken chunk":    {"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		"a body before 401": {"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", 401},
		"a proxy's":         {"GET http://127.0.0.1:1/v1/keys HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n", 200},
		"a form":            {"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 13\r\n\r\n" + `{"image":"a"}`, 415},
		"Last-Event-ID":     {"GET /v1/jobs/7/events HTTP/1.1\r\nHost: x\r\n" + auth + "Last-Event-ID: one\r\n\r\n", 422},
	} {
		if resp := run.raw(t, test.text); resp.StatusCode != test.want {
			body, _ := io.ReadAll(resp.Body)
			t.Errorf("%s: %s %s, want %d", name, resp.Status, body, test.want)
		}
	}
	if run.count() != 0 {
		t.Errorf("the service was called: %v", run.calls)
	}
}

// A HEAD of what streams would wait for its end.
func TestHead(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeRead)
	for path, want := range map[string]int{"/v1/status": 200, "/v1/jobs/7/events": 405, "/v1/jobs/7/sbom": 405, "/v1/logs": 405} {
		if resp := run.do(t, http.MethodHead, path, key, ""); resp.StatusCode != want || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %v, want %d", path, resp.Status, resp.Header, want)
		}
	}
}

// A panic is one caller's 500; the log has its stack, the answer has not.
func TestPanic(t *testing.T) {
	run := start(t)
	run.submit = func(context.Context) error { panic("a secret") }
	detail := wantProblem(t, run.do(t, "POST", "/v1/jobs", run.key(t, scanner.ScopeScan), `{"image":"a"}`), http.StatusInternalServerError)
	_, id, _ := strings.Cut(detail, "as error ")
	if strings.Contains(detail, "secret") || !strings.Contains(run.log.String(), "id="+id) || !strings.Contains(run.log.String(), "hostile_test.go") {
		t.Errorf("%q; the log:\n%s", detail, run.log)
	}
	if _, err := run.client(t).Status(t.Context()); err != nil {
		t.Error(err)
	}
}

// Errors that match nothing show nothing.
func TestInternalErrors(t *testing.T) {
	run := start(t)
	key := run.key(t, scanner.ScopeScan)
	run.err = fmt.Errorf("open /var/lib/stella/x: %w", errors.New("permission denied"))
	for method, path := range map[string]string{"GET": "/v1/jobs/7/sbom", "POST": "/v1/jobs/7/cancel"} {
		if detail := wantProblem(t, run.do(t, method, path, key, ""), http.StatusInternalServerError); strings.Contains(detail, "/var/lib") {
			t.Errorf("%s: %q", path, detail)
		}
	}
}
