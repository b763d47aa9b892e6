package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"stella/internal/rdevserver"
)

func TestFlagsAndEnvironment(t *testing.T) {
	env := map[string]string{"CACHE_TTL": "15s", "RDEV_ROOT": "/a,/b", "RDEV_TOTAL_MEMORY": "2Gi", "RDEV_RUNNING": "3", "RDEV_KUBERNETES": "true"}
	var o rdevserver.Options
	var flags flag.FlagSet
	define(&flags, &o, func(string) string { return "" })
	if err := fromEnvironment(&flags, func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	if err := flags.Parse([]string{"--running", "5", "--root", "/c"}); err != nil {
		t.Fatal(err)
	}
	if o.CacheTTL != 15*time.Second || strings.Join(o.Roots, " ") != "/a /b /c" || o.Limits.TotalMemory != 2<<30 || o.Limits.Running != 5 || !o.Kubernetes {
		t.Errorf("%+v", o)
	}
	env["RDEV_CACHE_TTL"] = "7s" // the name of all others counts before the runbook's
	if err := fromEnvironment(&flags, func(name string) string { return env[name] }); err != nil || o.CacheTTL != 7*time.Second {
		t.Errorf("%v, %v", o.CacheTTL, err)
	}
	env["RDEV_CACHE_TTL"] = "soon"
	if err := fromEnvironment(&flags, func(name string) string { return env[name] }); err == nil || !strings.Contains(err.Error(), "RDEV_CACHE_TTL") {
		t.Errorf("a wrong variable: %v", err)
	}
	var out bytes.Buffer
	loud := func(name string) string { return map[string]string{"RDEV_LOG_LEVEL": "loud"}[name] }
	if code := run(t.Context(), nil, &out, &out, loud); code != 2 || !strings.Contains(out.String(), `"loud" for flag -log-level`) {
		t.Errorf("a wrong level of the log: %d %s", code, &out)
	}
}

func TestRun(t *testing.T) {
	none := func(string) string { return "" }
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, 0, "-cache-ttl"},
		{[]string{"--version"}, 0, version},
		{[]string{"--no-such-flag"}, 2, "--help"},
		{[]string{"--state-dir", "x"}, 2, "there are no projects"},
		{[]string{"--project", "/proc/nobody", "--state-dir", "/proc/nobody", "--listen", "127.0.0.1:0"}, 1, "/proc/nobody"},
	} {
		var out bytes.Buffer
		code := run(t.Context(), test.args, &out, &out, none)
		if code != test.code || !strings.Contains(out.String(), test.want) {
			t.Errorf("%q: %d %s; want %d and %q", test.args, code, &out, test.code, test.want)
		}
	}
}

// The flags of the manifest are flags, and what the runbook counts on is there.
func TestManifest(t *testing.T) {
	data, err := os.ReadFile("../../deploy/kubernetes/rdev-api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type container struct {
		Name string
		Args []string
		Env  []struct{ Name, Value string }
	}
	type object struct {
		Kind     string
		Metadata struct{ Name, Namespace string }
		Spec     struct {
			Template struct {
				Metadata struct{ Labels map[string]string }
				Spec     struct{ Containers []container }
			}
		}
	}
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			t.Fatal("there is no Deployment")
		} else if err != nil {
			t.Fatal(err)
		}
		if o.Kind != "Deployment" {
			continue
		}
		c := o.Spec.Template.Spec.Containers[0]
		if o.Metadata.Name != "rdev-api" || o.Metadata.Namespace != "rdev" || o.Spec.Template.Metadata.Labels["app"] != "rdev-api" || c.Env[0].Name != "CACHE_TTL" {
			t.Errorf("%+v", o)
		}
		var options rdevserver.Options
		var flags flag.FlagSet
		flags.SetOutput(io.Discard)
		define(&flags, &options, func(string) string { return "" })
		if err := flags.Parse(c.Args); err != nil {
			t.Fatal(err)
		}
		options.AdminKeyFile = "" // it is not here
		if err := options.Validate(); err != nil {
			t.Error(err)
		}
		return
	}
}

func TestCurl(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "got "+r.URL.Path) }))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	file := filepath.Join(t.TempDir(), "heap.prof")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-s", server.URL + "/metrics"}, 0, "got /metrics"},
		{[]string{address + "/ready"}, 0, "got /ready"},
		{[]string{"-o", file, address + "/debug/pprof/heap"}, 0, ""},
		{[]string{"http://192.0.2.1/"}, 1, "no full curl"},
		{[]string{"http://localhost.example.org/"}, 1, "no full curl"},
		{[]string{"-X", "POST", server.URL}, 1, "no full curl"},
		{nil, 1, "no full curl"},
		{[]string{"-o", "/proc/nobody/x", address}, 1, "/proc/nobody/x"},
	} {
		var out bytes.Buffer
		if code := curl(t.Context(), test.args, &out, &out); code != test.code || !strings.Contains(out.String(), test.want) {
			t.Errorf("curl %q: %d %s; want %d and %q", test.args, code, &out, test.code, test.want)
		}
	}
	var out bytes.Buffer
	if code := curl(t.Context(), []string{"-s", "file://" + file}, &out, &out); code != 0 || out.String() != "got /debug/pprof/heap" {
		t.Errorf("curl of the file: %d %s", code, &out)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "got /debug/pprof/heap" {
		t.Errorf("the file has %q, %v", got, err)
	}
}
