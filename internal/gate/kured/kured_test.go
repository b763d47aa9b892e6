package kured

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
)

// Kured as its chart deploys it, and as its own manifest does, is proven, with few questions.
func TestPath(t *testing.T) {
	r := newRig(t)
	check := r.check()
	if check.Name != "path" || check.Timeout == 0 || check.Last {
		t.Errorf("%+v", check)
	}
	for range 2 {
		want(t, check.Run(t.Context()), gate.Pass, "", "configuration (/var/run/gated-reboot-required, every 1m0s)", "kured_reboot_required is 0, as the file")
	}
	asked := []string{
		"GET " + setPath + "  ", "GET " + podsPath + " app=x,name=kured spec.nodeName=n1", "GET " + ownPath + "  ",
		"GET " + setPath + "  ", "GET " + podsPath + " app=x,name=kured spec.nodeName=n1", // the own pod stays as it is
	}
	if got := strings.Join(r.api.asked, "\n"); got != strings.Join(asked, "\n") {
		t.Errorf("asked:\n%s", got)
	}
}

// kured sets where kured's sentinel is.
func (r *rig) kured(sentinel, mountPath, hostPath string) {
	r.container["args"] = []any{"--metrics-port=" + r.metrics.port, "--reboot-sentinel=" + sentinel}
	r.container["volumeMounts"] = []any{js{"name": "sentinel", "mountPath": mountPath}}
	r.podSpec["volumes"] = []any{js{"name": "sentinel", "hostPath": js{"path": hostPath}}}
}

func TestPlaces(t *testing.T) {
	const gated = "/sentinel/gated-reboot-required"
	for _, c := range []struct {
		name    string
		change  func(r *rig)
		outcome gate.Outcome
		reason  string
		words   string
	}{
		{"the alias", func(r *rig) { r.kured(gated, "/sentinel", "/run") }, gate.Pass, "", "taking /var/run for /run"},
		{"a flag in two words", func(r *rig) {
			r.container["args"] = []any{"--reboot-sentinel", gated, "--metrics-port", r.metrics.port}
		}, gate.Pass, "", "every 1h0m0s"},
		{"all in the command", func(r *rig) {
			r.container["command"] = []any{"/usr/bin/kured", "--reboot-sentinel=" + gated, "--metrics-port=" + r.metrics.port}
			delete(r.container, "args")
		}, gate.Pass, "", ""},
		{"by the image's command", func(r *rig) { delete(r.container, "command") }, gate.Pass, "", ""},
		{"a variable", func(r *rig) {
			r.container["args"] = []any{"--metrics-port=" + r.metrics.port}
			r.container["env"] = []any{js{"name": "KURED_REBOOT_SENTINEL", "value": gated}}
		}, gate.Pass, "", ""},
		{"another directory of the host, which went on for six days", func(r *rig) { r.kured(gated, "/sentinel", "/var/run/sentinel") }, gate.Block, ReasonMismatch, "/var/run/sentinel/gated-reboot-required"},
		{"another name", func(r *rig) { r.kured("/sentinel/gated", "/sentinel", "/var/run") }, gate.Block, ReasonMismatch, "/var/run/gated of the host"},
		{"the raw file", func(r *rig) { r.kured("/sentinel/reboot-required", "/sentinel", "/run") }, gate.Block, ReasonBypassed, "without asking the gate"},
		{"the raw file by default", func(r *rig) {
			r.kured("", "/var/run", "/var/run")
			r.container["args"] = []any{}
		}, gate.Block, ReasonBypassed, "without asking the gate"},
		{"nothing mounted", func(r *rig) { r.kured("/var/run/gated-reboot-required", "/sentinel", "/var/run") }, gate.Block, ReasonMismatch, "nothing of the host"},
		{"half a name", func(r *rig) { r.kured("/sentinel2/gated-reboot-required", "/sentinel", "/var/run") }, gate.Block, ReasonMismatch, "nothing of the host"},
		{"the file alone", func(r *rig) { r.kured(gated, gated, "/var/run/gated-reboot-required") }, gate.Block, ReasonMismatch, "mounted alone"},
		{"a volume of its own", func(r *rig) { r.podSpec["volumes"] = []any{js{"name": "sentinel", "emptyDir": js{}}} }, gate.Block, ReasonMismatch, "none of the host"},
		{"hidden by a deeper mount", func(r *rig) {
			r.kured("/host/run/gated-reboot-required", "/host", "/var")
			r.container["volumeMounts"] = append(r.container["volumeMounts"].([]any), js{"name": "empty", "mountPath": "/host/run/"})
			r.podSpec["volumes"] = append(r.podSpec["volumes"].([]any), js{"name": "empty", "emptyDir": js{}})
		}, gate.Block, ReasonMismatch, "none of the host"},
		{"the whole host", func(r *rig) { r.kured("/host/var/run/gated-reboot-required", "/host/", "/") }, gate.Pass, "", ""},
		{"a part of a volume", func(r *rig) {
			r.kured(gated, "/sentinel", "/var")
			r.container["volumeMounts"] = []any{js{"name": "sentinel", "mountPath": "/sentinel", "subPath": "run"}}
		}, gate.Pass, "", ""},
		{"a part that nobody knows", func(r *rig) {
			r.container["volumeMounts"] = []any{js{"name": "sentinel", "mountPath": "/sentinel", "subPathExpr": "$(X)"}}
		}, gate.Unknown, ReasonUnreadable, "subPathExpr"},
		{"a way out of a volume", func(r *rig) {
			r.container["volumeMounts"] = []any{js{"name": "sentinel", "mountPath": "/sentinel", "subPath": "../run"}}
		}, gate.Unknown, ReasonUnreadable, "subPath"},
		{"no volume", func(r *rig) { r.podSpec["volumes"] = []any{} }, gate.Unknown, ReasonUnreadable, "not in the pod"},
		{"a detour", func(r *rig) { r.kured("/sentinel/../sentinel/gated-reboot-required", "/sentinel", "/var/run") }, gate.Unknown, ReasonUnreadable, "detours"},
		{"variables from elsewhere", func(r *rig) { r.container["envFrom"] = []any{js{"configMapRef": js{"name": "x"}}} }, gate.Unknown, ReasonUnreadable, "envFrom"},
		{"the gate by a command", func(r *rig) {
			r.container["args"] = []any{"--reboot-sentinel-command=/opt/kured-sentinel-gate --once --node=n1"}
		}, gate.Pass, "", "it runs /opt/kured-sentinel-gate --once"},
		{"the file by a command", func(r *rig) {
			r.container["args"] = []any{"--metrics-port=" + r.metrics.port, "--reboot-sentinel-command=/usr/bin/test -f /run/gated-reboot-required"}
		}, gate.Pass, "", "taking /var/run for /run"},
		{"the grant by a command", func(r *rig) {
			r.container["args"] = []any{"--metrics-port=" + r.metrics.port, "--reboot-sentinel-command=/opt/kured-sentinel-gate granted"}
		}, gate.Pass, "", "/var/run/gated-reboot-required"},
		{"the raw file by a command", func(r *rig) {
			r.container["args"] = []any{"--reboot-sentinel-command=test -f /run/reboot-required"}
		}, gate.Block, ReasonBypassed, ""},
		{"a command", func(r *rig) {
			r.container["args"] = []any{"--reboot-sentinel-command=sh -c 'needs-restarting -r'"}
		}, gate.Block, ReasonCommand, "a command, not the gated file"},
		{"the gate's help", func(r *rig) {
			r.container["args"] = []any{"--reboot-sentinel-command=kured-sentinel-gate --once --help"}
		}, gate.Block, ReasonCommand, ""},
		{"the gate without once", func(r *rig) {
			r.container["args"] = []any{"--reboot-sentinel-command=kured-sentinel-gate expire --once"}
		}, gate.Block, ReasonCommand, ""},
		{"our own file not from the host", func(r *rig) {
			r.own["spec"].(js)["volumes"] = []any{js{"name": "host-run", "emptyDir": js{}}}
		}, gate.Block, ReasonMismatch, "the gate uses"},
		{"our own file nowhere", func(r *rig) { r.own["spec"].(js)["containers"] = []any{} }, gate.Block, ReasonMismatch, "no container"},
		{"our own file in two places", func(r *rig) {
			s := r.own["spec"].(js)
			mounts := s["containers"].([]any)[0].(js)["volumeMounts"].([]any)
			s["containers"] = append(s["containers"].([]any), js{"volumeMounts": []any{js{"name": "x", "mountPath": mounts[0].(js)["mountPath"]}}})
			s["volumes"] = append(s["volumes"].([]any), js{"name": "x", "hostPath": js{"path": "/elsewhere"}})
		}, gate.Unknown, ReasonAmbiguous, "/elsewhere"},
		{"another container beside kured", func(r *rig) {
			r.podSpec["containers"] = []any{js{"name": "proxy"}, r.container}
		}, gate.Pass, "", ""},
		{"two of kured", func(r *rig) {
			r.podSpec["containers"] = []any{js{"name": "x", "image": "registry:5000/kured@sha256:0"}, r.container}
		}, gate.Unknown, ReasonAmbiguous, "2 could be kured"},
		{"a shell", func(r *rig) { r.container["command"] = []any{"/bin/sh", "-c", "kured"} }, gate.Unknown, ReasonUnreadable, "not kured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.change(r)
			want(t, r.look(t), c.outcome, c.reason, c.words)
		})
	}
}

// On the host itself the paths are those of the host.
func TestOnTheHost(t *testing.T) {
	r := newRig(t)
	r.options.Pod = ""
	want(t, r.look(t), gate.Block, ReasonMismatch)
	r.kured("/sentinel/gated-reboot-required", "/sentinel", filepath.Dir(r.options.Gated.Path()))
	delete(r.api.objects, podsPath)
	want(t, r.look(t), gate.Pass, "")
}

// A canary finds out what names do not show, both ways.
func TestCanary(t *testing.T) {
	r := newRig(t)
	dir := filepath.Dir(r.options.Gated.Path())
	r.options.HostRoot = t.TempDir()
	if err := os.Symlink(dir, filepath.Join(r.options.HostRoot, "var")); err != nil {
		t.Fatal(err)
	}
	want(t, r.look(t), gate.Block, ReasonMismatch, "as a canary shows") // the link leads nowhere in the host's file system
	r.options.HostRoot = filepath.Dir(dir)
	r.kured("/sentinel/gated-reboot-required", "/sentinel", "/"+filepath.Base(dir))
	delete(r.api.objects, podsPath)
	want(t, r.look(t), gate.Pass, "", "; canary;")
	r.kured("/sentinel/gated", "/sentinel", "/"+filepath.Base(dir))
	delete(r.api.objects, podsPath)
	want(t, r.look(t), gate.Block, ReasonMismatch, "/gated of the host") // the right directory, and another name
	r.kured("/sentinel/gated-reboot-required", "/sentinel", "/"+filepath.Base(dir))
	delete(r.api.objects, podsPath)
	r.options.HostRoot = "/missing"
	want(t, r.look(t), gate.Unknown, ReasonCanary, "/missing")
}

func TestFindingKured(t *testing.T) {
	listed := func(sets ...js) js {
		items := []any{}
		for _, s := range sets {
			items = append(items, s)
		}
		return js{"kind": "DaemonSetList", "metadata": js{}, "items": items}
	}
	gone := func(r *rig) { r.api.objects[setPath] = js{"kind": "Status"}; r.api.fault = notFound(setPath) }
	for _, c := range []struct {
		name    string
		change  func(r *rig)
		outcome gate.Outcome
		reason  string
		words   string
	}{
		{"by its label", func(r *rig) {
			gone(r)
			r.api.objects[setsPath] = listed(set("kube-system", "my-kured"))
		}, gate.Pass, "", ""},
		{"by its label, none", func(r *rig) { gone(r); r.api.objects[setsPath] = listed() }, gate.Block, ReasonNoKured, ""},
		{"by its label, two", func(r *rig) {
			gone(r)
			r.api.objects[setsPath] = listed(set("a", "kured"), set("b", "kured"))
		}, gate.Unknown, ReasonAmbiguous, "a/kured and b/kured"},
		{"by its label, nothing at all", func(r *rig) { gone(r); r.api.objects[setsPath] = listed(js{}) }, gate.Unknown, "bad_answer", ""},
		{"by a name", func(r *rig) {
			r.options.Namespace, r.options.Name = "ns", "reboots"
			r.api.objects["/apis/apps/v1/namespaces/ns/daemonsets/reboots"] = set("ns", "reboots")
			r.api.objects["/api/v1/namespaces/ns/pods"] = js{"kind": "PodList", "metadata": js{}, "items": r.pods}
		}, gate.Pass, "", ""},
		{"by a name, none", func(r *rig) { r.options.Name = "reboots" }, gate.Block, ReasonNoKured, "reboots in namespace kube-system"},
		{"another object", func(r *rig) { r.api.objects[setPath] = set("kube-system", "other") }, gate.Unknown, "bad_answer", "the object \"other\""},
		{"another kind", func(r *rig) { r.api.objects[setPath] = js{"kind": "Status"} }, gate.Unknown, "bad_answer", ""},
		{"an empty object", func(r *rig) { r.api.objects[ownPath] = js{} }, gate.Unknown, "bad_answer", ""},
		{"no pod", func(r *rig) { r.pods = []any{} }, gate.Block, ReasonNotRunning, "no pod on the node n1"},
		{"a pod of somebody else", func(r *rig) { delete(r.pod["metadata"].(js), "ownerReferences") }, gate.Block, ReasonNotRunning, ""},
		{"a pod of another node", func(r *rig) { r.podSpec["nodeName"] = "n2" }, gate.Block, ReasonNotRunning, ""},
		{"a pod that is ending", func(r *rig) { r.pod["metadata"].(js)["deletionTimestamp"] = "2026-05-30T03:33:00Z" }, gate.Block, ReasonNotRunning, ""},
		{"a pod that waits", func(r *rig) { r.pod["status"].(js)["phase"] = "Pending" }, gate.Block, ReasonNotRunning, `"Pending"`},
		{"two pods", func(r *rig) { r.pods = append(r.pods, r.pod) }, gate.Unknown, ReasonAmbiguous, "2 pods"},
		{"more pods than are kept", func(r *rig) {
			for range 100 {
				r.pods = append(r.pods, r.pod)
			}
		}, gate.Unknown, ReasonAmbiguous, "more than 16"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			c.change(r)
			want(t, r.look(t), c.outcome, c.reason, c.words)
		})
	}
}

func notFound(path string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.WriteHeader(http.StatusNotFound)
		return true
	}
}

// Whatever the API answers, and to which question, nothing passes that is not known.
func TestFaults(t *testing.T) {
	faults := map[string]struct {
		reason string
		answer func(w http.ResponseWriter, r *http.Request)
	}{
		"401":       {"unauthorized", status(401)},
		"403":       {"forbidden", status(403)},
		"429":       {"throttled", status(429)},
		"500":       {"server_error", status(500)},
		"redirect":  {"redirected", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }},
		"empty":     {"bad_answer", body("")},
		"truncated": {"bad_answer", body(`{"kind":"DaemonSet","metadata":{"name":"kured"`)},
		"html":      {"bad_answer", body("<html>welcome</html>")},
		"null":      {"bad_answer", body("null")},
		"array":     {"bad_answer", body("[]")},
		"object":    {"bad_answer", body("{}")},
		"type":      {"bad_answer", body(`{"kind":7,"metadata":[],"items":{}}`)},
		"huge":      {"too_large", body(`{"kind":"` + strings.Repeat("x", 8<<20) + `"}`)},
	}
	for _, path := range []string{setPath, podsPath, ownPath} {
		for name, f := range faults {
			r := newRig(t)
			r.api.fault = func(w http.ResponseWriter, request *http.Request) bool {
				if request.URL.Path != path {
					return false
				}
				f.answer(w, request)
				return true
			}
			got := r.look(t)
			if got.Outcome != gate.Unknown || got.Reason != f.reason {
				t.Errorf("%s to %s: %s %q, want unknown %q: %s", name, path, got.Outcome, got.Reason, f.reason, got.Detail)
			}
		}
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func body(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// An API that does not answer holds nobody longer than the check may take.
func TestSlow(t *testing.T) {
	r := newRig(t)
	held := make(chan struct{})
	t.Cleanup(func() { close(held) })
	check := Path(client(t, http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		select {
		case <-held:
		case <-request.Context().Done():
		}
	})), r.options)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	want(t, check.Run(ctx), gate.Unknown, "timeout")
}
