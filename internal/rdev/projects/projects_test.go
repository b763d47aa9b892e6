package projects_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"stella/internal/kube"
	"stella/internal/rdev"
	"stella/internal/rdev/projects"
)

// tree makes directories, links ("a -> b") and files ("a =") below a directory of the test.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		var err error
		if from, to, ok := strings.Cut(name, " -> "); ok {
			err = os.Symlink(to, filepath.Join(dir, from))
		} else if file, ok := strings.CutSuffix(name, " ="); ok {
			err = os.WriteFile(filepath.Join(dir, file), nil, 0o644)
		} else {
			err = os.MkdirAll(filepath.Join(dir, name), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, o projects.Options) *projects.Projects {
	t.Helper()
	p, err := projects.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func names(all []rdev.Project) string {
	var s []string
	for _, p := range all {
		s = append(s, p.Name)
	}
	return strings.Join(s, " ")
}

func TestDirectories(t *testing.T) {
	outside := tree(t, "secret")
	root := tree(t, "web/src/deep", "web/file =", "api", "file =", "Upper", ".hidden", "inner -> api", "outer -> "+outside,
		"web/out -> "+outside, "web/up -> ../api", "web/in -> src")
	place := tree(t, "x")
	p := open(t, projects.Options{Roots: []string{root}, Places: map[string]string{"here": place, "api": place}})
	all, err := p.List(t.Context())
	if err != nil || len(all) != 4 || !strings.HasPrefix(names(all), "api here ") { // a root's come as the file system has them
		t.Errorf("%s, %v", names(all), err)
	}
	if api, err := p.Get(t.Context(), "api"); err != nil || api.Directory != place || api.Kind != rdev.Local || !api.Ready {
		t.Errorf("%+v, %v", api, err)
	}
	for _, name := range []string{"outer", "file", "Upper", ".hidden", "..", ".", "", "web/src", "../x", "/etc", "web\x00", strings.Repeat("a", 300)} {
		if found, err := p.Get(t.Context(), name); !errors.Is(err, projects.ErrNotFound) || len(err.Error()) > 500 {
			t.Errorf("%q: %+v, %v", name, found, err)
		}
	}
	web, err := p.Get(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	for below, want := range map[string]string{"": "", ".": "", "src": "src", "src/deep": "src/deep", "src/../src": "src", "in/deep": "in/deep"} {
		if got, err := p.Directory(web, below); err != nil || got != filepath.Join(root, "web", want) {
			t.Errorf("%q: %s, %v", below, got, err)
		}
	}
	for _, below := range []string{"..", "../api", "/etc", "src/../../api", "out", "out/secret", "up", "none", "file", "src\x00", "src/../../web/src"} {
		if got, err := p.Directory(web, below); err == nil {
			t.Errorf("%q: %s", below, got)
		}
	}
	if _, err := p.Directory(web, "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	pod := rdev.Project{Kind: rdev.Pod, Directory: "/src"}
	if got, err := p.Directory(pod, "a/../b"); got != "/src/b" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := p.Directory(pod, "../b"); err == nil {
		t.Errorf("%s", got)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]projects.Options{
		"relative":    {Roots: []string{"here"}},
		"not there":   {Roots: []string{dir + "/none"}},
		"place":       {Places: map[string]string{"a": dir + "/none"}},
		"name":        {Places: map[string]string{"A/b": dir}},
		"TTL":         {TTL: -1},
		"second root": {Roots: []string{dir, dir + "/none"}},
	} {
		if p, err := projects.New(o); err == nil {
			t.Errorf("%s: taken", name)
			p.Close()
		}
	}
}

func TestNames(t *testing.T) {
	for dir, want := range map[string]string{
		"/home/me/web": "web", "/home/me/My Project": "my-project", "/": "project", "/.config": "config", "/äöü": "project", "/a.b_c-d": "a.b_c-d",
		"/" + strings.Repeat("x", 400): strings.Repeat("x", projects.MaxName),
	} {
		got := projects.NameOf(dir)
		if got != want || projects.CheckName(got) != nil {
			t.Errorf("%s: %q, want %q", dir, got, want)
		}
	}
}

// What was found is kept for its time, and forgotten then though nobody asks.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := tree(t, "a")
		p, err := projects.New(projects.Options{Roots: []string{root}, TTL: 15 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		list := func(want string) {
			t.Helper()
			if all, err := p.List(t.Context()); names(all) != want || err != nil {
				t.Errorf("%q, %v; want %q", names(all), err, want)
			}
		}
		list("a")
		if err := os.Rename(filepath.Join(root, "a"), filepath.Join(root, "b")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15*time.Second - time.Millisecond)
		list("a")
		if s := p.Stats(); s.Looks != 1 || s.Answers != 1 || s.Entries != 1 || s.Bytes == 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if s := p.Stats(); s.Entries != 0 || s.Bytes != 0 {
			t.Errorf("nobody asked, and it is kept: %+v", s)
		}
		list("b")
	})
}

// A root of any size takes so much memory and no more.
func TestTooMany(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("x", 200)
	for i := range projects.MaxProjects + 10 {
		if err := os.Mkdir(filepath.Join(root, fmt.Sprintf("p%d-%s", i, long)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := open(t, projects.Options{Roots: []string{root}})
	all, err := p.List(t.Context())
	s := p.Stats()
	if !errors.Is(err, projects.ErrTooMany) || len(all) > projects.MaxProjects || len(all) < 1000 || s.Bytes > projects.MaxBytes || s.Bytes < projects.MaxBytes/2 {
		t.Errorf("%d projects, %+v, %v", len(all), s, err)
	}
	if _, err := p.Get(t.Context(), all[0].Name); err != nil {
		t.Error(err)
	}
	if _, err := p.Get(t.Context(), "none"); !errors.Is(err, projects.ErrTooMany) || errors.Is(err, projects.ErrNotFound) {
		t.Errorf("whether there is one that was not listed: %v", err)
	}
}

const podList = `{"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [
{"metadata": {"name": "one", "namespace": "ns"}, "spec": {"containers": [{"name": "c"}, {"name": "d"}]}, "status": {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}}]}},
{"metadata": {"name": "two", "namespace": "ns", "annotations": {"kubectl.kubernetes.io/default-container": "d"}}, "spec": {"containers": [{"name": "c"}, {"name": "d"}]},
 "status": {"containerStatuses": [{"name": "d", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}},
{"metadata": {"name": "three", "namespace": "ns"}, "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}},
{"metadata": {"name": "four", "namespace": "ns"}, "spec": {"containers": [{"name": "c"}]}, "status": {"phase": "Pending"}},
{"metadata": {"name": "web", "namespace": "ns"}, "spec": {"containers": [{"name": "c"}]}, "status": {}},
{"metadata": {"name": "five", "namespace": "ns"}, "spec": {}, "status": {}}]}`

// cluster is a client of an API server that does what a function says.
func cluster(t *testing.T, serve http.HandlerFunc) *kube.Client {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "config")
	text := "current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u, namespace: ns}}]\nclusters: [{name: c, cluster: {server: '" + server.URL + "'}}]\nusers: [{name: u, user: {}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := kube.Kubeconfig(file, "")
	if err != nil {
		t.Fatal(err)
	}
	client := kube.New(config, "test")
	t.Cleanup(client.Close)
	return client
}

func TestPods(t *testing.T) {
	client := cluster(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/namespaces/ns/pods" || r.URL.Query().Get("labelSelector") != "app=dev" {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = w.Write([]byte(podList))
	})
	root := tree(t, "web")
	p := open(t, projects.Options{Roots: []string{root}, Kube: client, Labels: "app=dev"})
	all, err := p.List(t.Context())
	if err != nil || names(all) != "web one two three four five" {
		t.Errorf("%s, %v", names(all), err)
	}
	for name, want := range map[string]rdev.Project{
		"one":   {Container: "c", Ready: true},
		"two":   {Container: "d", Reason: "container d waits: CrashLoopBackOff"},
		"three": {Container: "c", Reason: "container c has ended: OOMKilled, exit code 137"},
		"four":  {Container: "c", Reason: "container c has not been started; the pod is Pending"},
		"five":  {Reason: `the pod has no container ""`},
	} {
		want.Name, want.PodName, want.Kind, want.Namespace = name, name, rdev.Pod, "ns"
		if got, err := p.Get(t.Context(), name); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if web, err := p.Get(t.Context(), "web"); err != nil || web.Kind != rdev.Local {
		t.Errorf("%+v, %v", web, err)
	}
}

// Many callers are one request; one who goes away spoils it for nobody; and trouble hides no directory.
func TestTrouble(t *testing.T) {
	var requests atomic.Int64
	release := make(chan struct{})
	client := cluster(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		<-release
		http.Error(w, "no", http.StatusForbidden)
	})
	p := open(t, projects.Options{Roots: []string{tree(t, "web")}, Kube: client})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			all, err := p.List(t.Context())
			if names(all) != "web" || !errors.Is(err, kube.ErrForbidden) {
				t.Errorf("%s, %v", names(all), err)
			}
		})
	}
	close(release)
	callers.Wait()
	if n := requests.Load(); n > 2 { // two, where the machine stood still for a second
		t.Errorf("%d requests", n)
	}
	if _, err := p.Get(t.Context(), "none"); !errors.Is(err, kube.ErrForbidden) || errors.Is(err, projects.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// Close ends a look that would take long.
func TestCloseEndsLook(t *testing.T) {
	asked := make(chan struct{})
	client := cluster(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	p, err := projects.New(projects.Options{Kube: client})
	if err != nil {
		t.Fatal(err)
	}
	listed := make(chan error, 1)
	go func() {
		_, err := p.List(t.Context())
		listed <- err
	}()
	<-asked
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := <-listed; err == nil {
		t.Error("a look that was ended found everything")
	}
	if _, err := p.List(t.Context()); err == nil {
		t.Error("after Close")
	}
}
