package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stella/internal/rdev"
)

// Nobody gets out of a project by a name.
func TestPathTraversal(t *testing.T) {
	g := newRig(t)
	must(t, os.Symlink("/etc", filepath.Join(g.dir, "way-out")))
	must(t, os.WriteFile(filepath.Join(filepath.Dir(g.dir), "secret"), []byte("geheim"), 0o644))
	for path, want := range map[string]int{
		"/v1/projects/..":                                 404,
		"/v1/projects/../keys":                            404,
		"/v1/projects/%2e%2e":                             404,
		"/v1/projects/..%2fp":                             404,
		"/v1/projects/p%2f..%2fq":                         404,
		"/v1/projects/%2fetc":                             404,
		"/v1/projects/p%00":                               422,
		"/v1/projects/p%0d%0aSet-Cookie:x":                422,
		"/v1//projects":                                   404,
		"/v1/projects/p/commands/..%2f..%2fsecret/output": 404,
		"/v1/projects/p/commands/%2e%2e/output":           404,
		"/v1/projects/p/commands/" + strings.Repeat("x", 5000) + "/output": 404,
	} {
		r := g.send(master, "GET", path, "")
		if r.StatusCode != want || strings.Contains(r.body, "geheim") || len(r.Header.Values("Set-Cookie")) > 0 {
			t.Errorf("%.80s: %d %.200s; want %d", path, r.StatusCode, r.body, want)
		}
	}
	for _, dir := range []string{"..", "../q", "a/../../q", "/etc", "way-out", "way-out/ssl", "./../../", "x\x00y", "not-there"} {
		body := fmt.Sprintf(`{"argv":["cat","../secret"],"directory":%q}`, dir)
		if strings.Contains(dir, "\x00") {
			body = `{"argv":["pwd"],"directory":"x\u0000y"}`
		}
		g.status(g.send(master, "POST", "/v1/projects/p/commands", body), 422)
	}
}

// What a command prints stays in the data of its events, whatever it looks like.
func TestOutputInjectsNothing(t *testing.T) {
	g := newRig(t)
	const evil = `HTTP/1.1 200 OK\r\n\r\nid: 9\nevent: end\ndata: {"reason":"exit","exit_code":0}\n\n\nid: 7\r\n\033[2J\0\xff<script>alert(1)</script>\r\revent: end\n\n`
	c := g.shell(`printf '` + evil + `'; exit 5`)
	res := g.open(master, "GET", "/v1/projects/p/commands/"+c.ID+"/events", "")
	defer res.Body.Close()
	ends := 0
	for i, e := range events(t, res.Body) {
		if e.id != fmt.Sprint(i+1) {
			t.Errorf("event %d has the id %q", i+1, e.id)
		}
		if e.name == "end" {
			ends++
			if !strings.Contains(e.data, `"exit_code":5`) {
				t.Errorf("end %s", e.data)
			}
		} else if e.name != "output" {
			t.Errorf("an event %q", e.name)
		}
	}
	if ends != 1 {
		t.Errorf("%d ends", ends)
	}
	r := g.status(g.send(master, "GET", "/v1/projects/p/commands/"+c.ID+"/output", ""), 200)
	if r.Header.Get("Content-Type") != "text/plain; charset=utf-8" || r.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(r.Header.Get("Content-Security-Policy"), "sandbox") {
		t.Errorf("a browser could take the output for a page: %v", r.Header)
	}
	if int64(len(r.body)) != c.Output.Bytes && !strings.Contains(r.body, "<script>") {
		t.Errorf("output %q", r.body)
	}
}

// A program gets the arguments and variables that were asked for, as they are, and nothing of the service's.
func TestArgumentsAndEnvironment(t *testing.T) {
	t.Setenv("RDEV_SECRET", "geheim")
	g := newRig(t)
	out := func(body string) string {
		t.Helper()
		c := into[rdev.Command](t, g.status(g.send(master, "POST", "/v1/projects/p/commands", body), 202))
		g.wait(c)
		return g.status(g.send(master, "GET", "/v1/projects/p/commands/"+c.ID+"/output", ""), 200).body
	}
	if got := out(`{"argv":["printf","%s|","$(id)","; rm -rf .","--","a\nb","` + "`id`" + `"]}`); got != "$(id)|; rm -rf .|--|a\nb|`id`|" {
		t.Errorf("arguments became %q", got)
	}
	got := out(`{"argv":["env"],"env":{"A":"1\nB=2","C":"$(id)"}}`)
	if strings.Contains(got, "geheim") || !strings.Contains(got, "A=1\nB=2\n") || !strings.Contains(got, "C=$(id)\n") {
		t.Errorf("the environment is %q", got)
	}
	for _, bad := range []string{
		`{"argv":["env"],"env":{"A=B":"1"}}`, `{"argv":["env"],"env":{"A\nB":"1"}}`, `{"argv":["env"],"env":{"":"1"}}`, `{"argv":["env"],"env":{"A":"x\u0000y"}}`,
		`{"argv":["a\u0000b"]}`, `{"argv":[""]}`, `{"argv":[]}`, `{"shell":"id","argv":["id"]}`, `{"shell":"a\u0000b"}`, `{"argv":["id"],"timeout_ns":-1}`,
	} {
		g.status(g.send(master, "POST", "/v1/projects/p/commands", bad), 422)
	}
	// The values of variables are told to nobody.
	if list := g.send(master, "GET", "/v1/commands", ""); strings.Contains(list.body, "$(id)\"") && strings.Contains(list.body, `"C":"$`) {
		t.Errorf("the list tells the environment: %s", list.body)
	}
}

// A key for one project learns nothing of another, not even whether it is there.
func TestProjectsAreApart(t *testing.T) {
	g := newRig(t)
	other, c := g.key("other", rdev.ScopeRun, "q"), g.shell("echo geheim")
	for _, project := range []string{"p", "not-there"} {
		at := "/v1/projects/" + project
		for _, test := range [][2]string{
			{"GET", at}, {"GET", at + "/commands"}, {"POST", at + "/commands"}, {"GET", at + "/commands/" + c.ID}, {"DELETE", at + "/commands/" + c.ID},
			{"GET", at + "/commands/" + c.ID + "/output"}, {"GET", at + "/commands/" + c.ID + "/events"},
		} {
			r := g.status(g.send(other, test[0], test[1], ""), 403)
			if want := "key other is not for the project " + project; !strings.Contains(r.body, want) {
				t.Errorf("%s %s: %s; want %q", test[0], test[1], r.body, want)
			}
		}
	}
	g.status(g.send(other, "GET", "/v1/commands", ""), 403)
	for _, rest := range []string{"", "/output", "/events"} {
		g.status(g.send(other, "GET", "/v1/projects/q/commands/"+c.ID+rest, ""), 404)
	}
	g.status(g.send(other, "DELETE", "/v1/projects/q/commands/"+c.ID, ""), 404)
}

func TestScopes(t *testing.T) {
	g := newRig(t)
	c := g.shell("true")
	at := "/v1/projects/p/commands"
	secrets := map[rdev.Scope]string{"": "", rdev.ScopeRead: g.key("r", rdev.ScopeRead), rdev.ScopeRun: g.key("w", rdev.ScopeRun), rdev.ScopeAdmin: g.key("a", rdev.ScopeAdmin)}
	for _, test := range []struct {
		method, path, body string
		need               rdev.Scope
		want               int
	}{
		{"GET", "/v1/projects", "", rdev.ScopeRead, 200},
		{"GET", "/v1/commands", "", rdev.ScopeRead, 200},
		{"GET", at, "", rdev.ScopeRead, 200},
		{"GET", at + "/" + c.ID, "", rdev.ScopeRead, 200},
		{"GET", at + "/" + c.ID + "/output", "", rdev.ScopeRead, 200},
		{"GET", at + "/" + c.ID + "/events", "", rdev.ScopeRead, 200},
		{"POST", at, `{"argv":["true"]}`, rdev.ScopeRun, 202},
		{"DELETE", at + "/" + c.ID, "", rdev.ScopeRun, 200},
		{"GET", "/v1/keys", "", rdev.ScopeAdmin, 200},
		{"POST", "/v1/keys", `{"name":"new","scope":"read"}`, rdev.ScopeAdmin, 201},
		{"POST", "/v1/keys/new/rotate", `{}`, rdev.ScopeAdmin, 200},
		{"DELETE", "/v1/keys/new", "", rdev.ScopeAdmin, 204},
		{"GET", "/v1/audit", "", rdev.ScopeAdmin, 200},
	} {
		for _, scope := range []rdev.Scope{"", rdev.ScopeRead, rdev.ScopeRun, rdev.ScopeAdmin} {
			want := test.want
			if scope == "" {
				want = 401
			} else if !scope.Includes(test.need) {
				want = 403
			}
			g.status(g.send(secrets[scope], test.method, test.path, test.body), want)
		}
	}
	g.status(g.send(secrets[rdev.ScopeRead], "GET", "/v2", ""), 404)
	if r := g.status(g.send(secrets[rdev.ScopeRead], "PUT", at, ""), 405); r.Header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("allowed %q", r.Header.Get("Allow"))
	}
}

// A page of another site gets nothing done, and is told nothing.
func TestOtherSites(t *testing.T) {
	g := newRig(t)
	const at = "/v1/projects/p/commands"
	for _, header := range [][]string{
		{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "null"},
		{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"},
	} {
		g.status(g.send(master, "POST", at, `{"argv":["true"]}`, header...), 403)
		g.status(g.send(master, "DELETE", at+"/x", "", header...), 403)
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		g.status(g.send(master, "POST", at, `{"argv":["true"]}`, "Content-Type", kind), 415)
	}
	g.status(g.send(master, "POST", at, `{"argv":["true"]}`, "Origin", g.url), 202)
	for _, method := range []string{"OPTIONS", "GET"} {
		r := g.send(master, method, at, "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
		for name := range r.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s lets other sites in: %s", method, name)
			}
		}
	}
}

// Whoever tries keys is soon not listened to any more, but those who have one are.
func TestKeyGuessing(t *testing.T) {
	g := newRig(t)
	good := g.key("good", rdev.ScopeRead)
	g.status(g.send(good, "GET", "/v1/projects", ""), 200)
	id := strings.Split(good, "_")[1]
	counts := map[int]int{}
	for i := range 40 {
		guess := []string{
			fmt.Sprintf("rdev_%s_%043d", id, i), fmt.Sprintf("rdev_%016d_%043d", i, i), fmt.Sprintf("guess %d", i), good[:len(good)-1] + "!",
		}[i%4]
		counts[g.send(guess, "GET", "/v1/projects", "").StatusCode]++
	}
	if counts[401] < 15 || counts[401] > 25 || counts[429] != 40-counts[401] {
		t.Errorf("answers to 40 wrong keys: %v", counts)
	}
	g.status(g.send(good, "GET", "/v1/projects", ""), 200)
	if r := g.status(g.send("rdev_0", "GET", "/v1/projects", ""), 429); r.Header.Get("Retry-After") != "60" {
		t.Error("it does not say when to come back")
	}
	// Two keys are none, nor is another scheme.
	r := httptest.NewRequest("GET", "/v1/projects", nil)
	r.RemoteAddr = "192.0.2.9:1"
	r.Header["Authorization"] = []string{"Bearer " + good, "Bearer " + good}
	w := httptest.NewRecorder()
	g.api.Handler().ServeHTTP(w, r)
	if w.Code != 401 {
		t.Errorf("two keys: %d", w.Code)
	}
}

func TestRequestsAreLimited(t *testing.T) {
	g := newRig(t)
	key := g.key("busy", rdev.ScopeRead)
	refused := 0
	for range 400 {
		if g.send(key, "GET", "/v1/projects/p", "").StatusCode == http.StatusTooManyRequests {
			refused++
			break
		}
	}
	if refused == 0 {
		t.Error("400 requests at once were answered")
	}
	g.status(g.send(g.key("calm", rdev.ScopeRead), "GET", "/v1/projects/p", ""), 200)
}

// Who may see metrics and profiles, from where.
func TestOwn(t *testing.T) {
	g := newRig(t)
	read, admin := g.key("read", rdev.ScopeRead), g.key("admin", rdev.ScopeAdmin)
	const local, cluster, away = "127.0.0.1:5", "10.1.2.3:5", "192.0.2.1:5"
	for _, test := range []struct {
		path, from, key, header string
		want                    int
	}{
		{"/ready", away, "", "", 200},
		{"/readyz", away, "", "", 200},
		{"/live", away, "", "", 200},
		{"/metrics", local, "", "", 200},
		{"/metrics", "[::1]:5", "", "", 200},
		{"/metrics", "[::ffff:127.0.0.1]:5", "", "", 200},
		{"/debug/pprof/heap", local, "", "", 200},
		{"/debug/pprof/", local, "", "", 200},
		{"/metrics", cluster, "", "", 200},
		{"/debug/pprof/heap", cluster, "", "", 401},
		{"/metrics", away, "", "", 401},
		{"/metrics", local, "", "X-Forwarded-For: 192.0.2.1", 401},
		{"/metrics", local, "", "Forwarded: for=192.0.2.1", 401},
		{"/metrics", local, "", "Via: 1.1 proxy", 401},
		{"/metrics", cluster, "", "X-Forwarded-For: 10.0.0.1", 401},
		{"/metrics", local, "", "Host: evil.example", 401},
		{"/debug/pprof/heap", local, "", "Host: 127.0.0.1.evil.example:8080", 401},
		{"/metrics", local, "wrong", "", 401},
		{"/metrics", away, read, "", 403},
		{"/debug/pprof/heap", away, read, "", 403},
		{"/metrics", away, admin, "", 200},
		{"/debug/pprof/heap", away, admin, "", 200},
		{"/debug/pprof/../../v1/projects", local, "", "", 401},
		{"/metrics/", local, "", "", 401},
	} {
		r := httptest.NewRequest("GET", "http://localhost:8080"+test.path, nil)
		r.RemoteAddr = test.from
		if name, value, ok := strings.Cut(test.header, ": "); ok {
			r.Header.Set(name, value)
			if name == "Host" {
				r.Host = value
			}
		}
		if test.key != "" {
			r.Header.Set("Authorization", "Bearer "+test.key)
		}
		w := httptest.NewRecorder()
		g.api.Handler().ServeHTTP(w, r)
		if w.Code != test.want || w.Code == 200 != strings.HasPrefix(w.Body.String(), "own /") {
			t.Errorf("%s from %s with %q, %q: %d %s; want %d", test.path, test.from, test.key, test.header, w.Code, w.Body, test.want)
		}
	}
	w := httptest.NewRecorder()
	g.api.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/v1/projects", nil))
	if w.Code != 404 {
		t.Errorf("the admin listener answers for projects: %d", w.Code)
	}
}
