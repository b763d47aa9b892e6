package remedy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/explain"
	"stella/internal/incident"
	"stella/internal/oom"
)

var now = time.Date(2026, 5, 31, 14, 40, 0, 0, time.UTC)

// object reads one, or fails the test.
func object(t testing.TB, text string) *Object {
	t.Helper()
	o, err := NewObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

const aContainer = `{"name":"c","image":"i","env":[{"name":"GOGC","value":"100"},{"name":"WORKERS","value":"8"},{"name":"CACHE_TTL","value":"30s"},{"name":"TOKEN","value":"hidden"}],
 "resources":{"limits":{"memory":"64Mi","cpu":"1"},"requests":{"memory":"64Mi"}},"volumeMounts":[{"name":"shm","mountPath":"/s"}]}`

func aPod(t testing.TB, container, more string) *Object {
	return object(t, `{"kind":"Pod","metadata":{"name":"web-1","namespace":"shop","uid":"p1","resourceVersion":"7"},"spec":{"nodeName":"n1","containers":[`+container+`]},"status":{"phase":"Running"}`+more+`}`)
}

func aDeployment(t testing.TB, metadata string) *Object {
	return object(t, `{"kind":"Deployment","metadata":{"name":"web","namespace":"shop","uid":"d1","resourceVersion":"9"`+metadata+`},
 "spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"spec":{"volumes":[{"name":"shm","emptyDir":{"medium":"Memory"}}],"containers":[{"name":"side"},`+aContainer+`]}}}}`)
}

// about is what is known of a container with that cause.
func about(t testing.TB, cause explain.Cause) Input {
	report := explain.Report{
		Container: oom.Container{Namespace: "shop", Pod: "web-1", Name: "c", Workload: "Deployment/web", LimitBytes: 64 << 20},
		Findings:  []explain.Finding{{Cause: cause, Confidence: 0.9, Summary: "So it is.", For: []explain.Evidence{{Text: "A fact."}}}},
		Collect:   []string{"Wait for more samples."},
	}
	switch cause {
	case explain.LimitTooLow, explain.StartUp, explain.Spike, explain.LargeInput, explain.Children:
		report.Limit = &explain.Recommendation{Bytes: 256 << 20, Seen: 64 << 20, Reason: "So much was seen."}
	case explain.Leak, explain.Gauged:
		report.Forecast = &explain.Forecast{PerHour: 1 << 20, Limit: 64 << 20}
	}
	return Input{
		Report: report, Now: now, Cgroup: "/kubepods/podp1/abc",
		Kills:    []oom.Kill{{ID: "k1", Process: oom.Process{Comm: "kubectl", RSS: 40 << 20}, Tasks: []oom.Process{{Comm: "kubectl"}, {Comm: "kubectl"}, {Comm: "sh"}}}},
		Workload: &Workload{Pod: aPod(t, aContainer, ""), Owner: aDeployment(t, ""), Container: "c", Allocatable: 8 << 30},
	}
}

// What each cause leads to. A * is left to a person, a ~ is no more than a stop-gap.
func TestPlanOfEachCause(t *testing.T) {
	for cause, want := range map[explain.Cause]string{
		explain.LimitTooLow: "resize limit environment",
		explain.StartUp:     "resize limit *find_out",
		explain.Spike:       "resize limit environment *find_out",
		explain.LargeInput:  "resize limit concurrency *find_out",
		explain.Children:    "resize limit concurrency *concurrency",
		explain.Leak:        "~resize ~restart environment *find_out",
		explain.Gauged:      "*find_out ~resize ~restart environment *autoscale",
		explain.Tmpfs:       "volume_size *find_out",
		explain.PageCache:   "*find_out",
		explain.KernelUse:   "concurrency *find_out",
		explain.Sockets:     "concurrency *find_out",
		explain.AboveLimit:  "*find_out",
		explain.NodeFull:    "*find_out",
		explain.NoOOM:       "*find_out",
		explain.Healthy:     "",
		explain.CannotTell:  "",
	} {
		p := New(about(t, cause))
		var got []string
		for i, s := range p.Steps {
			name := string(s.Kind)
			if !s.Ours() {
				name = "*" + name
			}
			if s.Stopgap {
				name = "~" + name
			}
			got = append(got, name)
			if s.N != i+1 || s.What == "" || s.Why == "" || s.Risk.Level == "" || s.Risk.Text == "" || s.Undo == "" || s.Ours() != (s.Diff != "") || s.Ours() && len(s.Commands) == 0 {
				t.Errorf("%s: step %d lacks something: %+v", cause, s.N, s)
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s, want %s", cause, text, want)
		}
		whole(t, &p)
	}
}

// whole checks what is true of every plan: it survives a file, it fits into an event, its edits apply to what they are for and back, and no secret is in it.
func whole(t *testing.T, p *Plan) {
	t.Helper()
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var back Plan
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if err := back.Check(); err != nil {
		t.Error(err)
	}
	if strings.Contains(string(text), "hidden") {
		t.Errorf("it has another variable's value: %s", text)
	}
	e := p.event(incident.Planned, "test", p.Summary, now, Note{Whole: p})
	if err := e.Check(now); err != nil {
		t.Error(err)
	}
	back.Steps = append(back.Steps, Step{})
	if back.Check() == nil {
		t.Error("a plan that was changed passes")
	}
}

// seeds/003: 64Mi → 256Mi, in both objects, with request and limit alike as before.
func TestPlanForChildren(t *testing.T) {
	p := New(about(t, explain.Children))
	resize, limit, fewer, people := p.Steps[0], p.Steps[1], p.Steps[2], p.Steps[3]
	if *resize.Target != (Target{"Pod", "shop", "web-1", "p1", "resize"}) || *limit.Target != (Target{"Deployment", "shop", "web", "d1", ""}) || *limit.Want != (Want{"c", 256 << 20}) {
		t.Errorf("targets are %+v, %+v", resize.Target, limit)
	}
	want := `--- Deployment/web
+++ Deployment/web
@@ -1,11 +1,11 @@
 spec:
   template:
     spec:
       containers:
         - name: c
           resources:
             limits:
               cpu: "1"
-              memory: 64Mi
+              memory: 256Mi
             requests:
-              memory: 64Mi
+              memory: 256Mi
`
	if diff := cmp.Diff(want, limit.Diff); diff != "" {
		t.Error(diff)
	}
	if c := fewer.Commands[0]; c != "kubectl --namespace shop set env deployment/web --containers=c WORKERS=4" {
		t.Errorf("fewer: %s", c)
	}
	if !strings.Contains(people.What, "2 named kubectl") || !strings.Contains(people.What, "has room for 1.") {
		t.Errorf("the children: %s", people.What)
	}
}

// Never a higher limit as the cure of a leak.
func TestNoLimitCuresALeak(t *testing.T) {
	for _, wish := range []int64{0, 1 << 30} {
		in := about(t, explain.Leak)
		in.Limit = wish
		restarts := false
		for _, s := range New(in).Steps {
			restarts = restarts || s.Kind == Restart
			if s.Kind == Limit || s.Kind == Resize && (!s.Stopgap || !strings.Contains(s.What, "stop-gap") || !strings.Contains(s.Why, "cures nothing")) {
				t.Errorf("%+v", s)
			}
		}
		if !restarts {
			t.Error("a stop-gap without a restart")
		}
	}
}

// The victim of a full node is innocent: the step is for who took its memory.
func TestPlanForTheCulprit(t *testing.T) {
	in := about(t, explain.NodeFull)
	in.Culprit = &Workload{Pod: aPod(t, `{"name":"b"}`, ""), Container: "b", Owner: object(t, `{"kind":"StatefulSet","metadata":{"name":"batch","namespace":"jobs","uid":"s1"},"spec":{"template":{"spec":{"containers":[{"name":"b","resources":{"claims":[]}}]}}}}`)}
	in.CulpritUse = explain.Neighbour{WorkingSet: 4 << 30}
	p := New(in)
	if len(p.Steps) != 1 || p.Steps[0].Target.Name != "batch" || p.Steps[0].Want.Limit != 5<<30 || p.Steps[0].Risk.Level != High || len(p.Notes) == 0 || !strings.Contains(p.Notes[0], "did nothing wrong") {
		t.Errorf("%+v", p)
	}
	if want := `{"claims":[],"limits":{"memory":"5Gi"},"requests":{"memory":"4Gi"}}`; string(p.Steps[0].Edits[0].After) != want {
		t.Errorf("edits are %s", encode(p.Steps[0].Edits))
	}
	whole(t, &p)
}

func TestPlanWithoutAnOwner(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Input)
		want   string // in the plan's JSON
	}{
		"a bare pod":            {func(in *Input) { in.Workload.Owner = nil }, "Nobody makes pod web-1 anew"},
		"an owner of others":    {func(in *Input) { in.Workload.Owner, in.Workload.Foreign = nil, "Rollout/web" }, "in Rollout/web, which makes the pods"},
		"a pod that has ended":  {func(in *Input) { in.Workload.Pod = aPod(t, aContainer, `,"status":{"phase":"Failed"}`) }, "does not run (Failed)"},
		"a unit":                {func(in *Input) { in.Workload, in.Report.Container = nil, oom.Container{Unit: "db's.service"} }, `systemctl set-property 'db'\\''s.service' MemoryMax=268435456`},
		"no Kubernetes":         {func(in *Input) { in.Workload = nil }, "Kubernetes was not asked"},
		"neither":               {func(in *Input) { in.Workload, in.Report.Container = nil, oom.Container{} }, "neither in Kubernetes nor a systemd unit"},
		"a node that is small":  {func(in *Input) { in.Workload.Allocatable = 100 << 20 }, "it will not grant a request of 256 MiB"},
		"a limit there already": {func(in *Input) { in.Limit = 64 << 20 }, "has a limit of 64.0 MiB already"},
		"a restart policy": {func(in *Input) {
			in.Workload.Pod = aPod(t, strings.Replace(aContainer, `"name":"c"`, `"name":"c","resizePolicy":[{"resourceName":"memory","restartPolicy":"RestartContainer"}]`, 1), "")
		}, "resizePolicy has it started anew"},
		"a static pod": {func(in *Input) {
			in.Workload.Pod.Metadata.Annotations = map[string]string{"kubernetes.io/config.mirror": "x"}
		}, "is a static one"},
	} {
		in := about(t, explain.LimitTooLow)
		c.change(&in)
		p := New(in)
		text, _ := json.Marshal(p)
		if !strings.Contains(string(text), c.want) {
			t.Errorf("%s: not %q in %s", name, c.want, text)
		}
		whole(t, &p)
	}
}

// The limits of the product's own services are settings: a person sets them.
func TestPlanForAService(t *testing.T) {
	for pool, want := range map[string]string{
		"default": "stella scanner config set worker.memory_limit 768Mi",
		"large":   "stella scanner workers add --pool large --memory 768Mi",
	} {
		d := incident.Details{Incident: incident.Incident{ID: "job-7", Source: incident.SourceWorker, Limit: incident.Limit{Bytes: 512 << 20}}}
		d.Timeline = []incident.Event{{Kind: incident.Killed, Text: "It was so.", Data: encode(map[string]string{"pool": pool})}}
		p := ForService(&d, 0, now)
		if len(p.Steps) != 1 || p.Steps[0].Commands[0] != want || !strings.Contains(p.Steps[0].Undo, "512Mi") || p.Steps[0].Why != "It was so." {
			t.Errorf("%q: %+v", pool, p)
		}
		whole(t, &p)
		d.Source = incident.SourceCommand
		if p = ForService(&d, 2<<30, now); len(p.Steps) != 1 || !strings.Contains(p.Steps[0].What, "--memory 2Gi") {
			t.Errorf("a command: %+v", p)
		}
		d.Limit.Bytes = 0
		if p = ForService(&d, 0, now); len(p.Steps) != 0 || len(p.Notes) != 1 {
			t.Errorf("no limit: %+v", p)
		}
	}
}

// Who declares a field elsewhere takes a change back.
func TestConflicts(t *testing.T) {
	const fields = `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{"f:resources":{"f:limits":{"f:memory":{}}}}}}}}}`
	managed := func(manager, operation string) string {
		return fmt.Sprintf(`,"managedFields":[{"manager":%q,"operation":%q,"fieldsV1":%s}]`, manager, operation, fields)
	}
	for name, c := range map[string]struct{ metadata, manager string }{
		"nobody":             {"", ""},
		"server-side apply":  {managed("my-tool", "Apply"), "my-tool"},
		"an edit by hand":    {managed("kubectl-edit", "Update"), ""},
		"kubectl apply":      {managed("kubectl-client-side-apply", "Update"), "kubectl-client-side-apply"},
		"Argo CD":            {managed("argocd-controller", "Update"), "argocd-controller"},
		"ourselves":          {managed("stella", "Apply"), ""},
		"another field":      {strings.Replace(managed("my-tool", "Apply"), "f:memory", "f:cpu", 1), ""},
		"another container":  {strings.Replace(managed("my-tool", "Apply"), `\"c\"`, `\"d\"`, 1), ""},
		"Helm's mark":        {`,"labels":{"app.kubernetes.io/managed-by":"Helm"}`, "Helm"},
		"another's mark":     {`,"labels":{"app.kubernetes.io/managed-by":"me"}`, ""},
		"Argo CD's mark":     {`,"annotations":{"argocd.argoproj.io/tracking-id":"x"}`, "Argo CD"},
		"an operator's":      {`,"ownerReferences":[{"kind":"Shop","name":"s","controller":true}]`, "Shop/s"},
		"fields that are no": {`,"managedFields":[{"manager":"x","operation":"Apply","fieldsV1":7}]`, ""},
	} {
		in := about(t, explain.LimitTooLow)
		in.Workload.Owner = aDeployment(t, c.metadata)
		s := New(in).Steps[1]
		switch {
		case c.manager == "" && len(s.Conflicts) == 0:
		case len(s.Conflicts) == 1 && s.Conflicts[0].Manager == c.manager && strings.Contains(s.Conflicts[0].Text, "change it there"):
		default:
			t.Errorf("%s: %+v", name, s.Conflicts)
		}
	}
}

// The shell reads back what was quoted.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "it's", "$(x)", "a\nb", "-n", "*", "~", "!"} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsRune(word, 0) {
			return // no argument has it
		}
		script := filepath.Join(dir, "s")
		if err := os.WriteFile(script, []byte("printf %s. "+quote(word)), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := exec.CommandContext(t.Context(), "sh", script).Output()
		if err != nil || string(got) != word+"." {
			t.Errorf("%q came as %q, %v", word, got, err)
		}
	})
}

// What the API answers may be anything: a plan of it is a whole one.
func FuzzPlanOfObjects(f *testing.F) {
	in := about(f, explain.Children)
	f.Add(string(encode(in.Workload.Pod.tree)), string(encode(in.Workload.Owner.tree)))
	f.Add(`{"kind":"Pod","metadata":{"name":"p","uid":"1"},"spec":{"containers":[{"name":"c","resources":[]}]},"status":{"phase":"Running"}}`, `{"kind":"CronJob","metadata":{"name":"p","uid":"1","managedFields":[{"fieldsV1":{"f:spec":1}}]},"spec":{"jobTemplate":7}}`)
	f.Add(`{"kind":"Pod","metadata":{"name":"p","uid":"1"},"spec":{"containers":[{"name":"c","env":[{"name":"GOGC","value":"1"}, 7]}],"containers/":1},"status":{"phase":"Running"}}`, `{"kind":"Deployment","metadata":{"name":"p","uid":"1"},"spec":{"template":{"spec":{"containers":[{"name":"c","env":{"x":1},"resources":"none"}]}}}}`)
	f.Fuzz(func(t *testing.T, pod, owner string) {
		p, err := NewObject([]byte(pod))
		if err != nil {
			return
		}
		o, err := NewObject([]byte(owner))
		if err != nil {
			return
		}
		for cause := range table {
			in := about(t, cause)
			in.Workload = &Workload{Pod: p, Owner: o, Container: "c"}
			in.Culprit = in.Workload
			plan := New(in)
			for _, s := range plan.Steps {
				tree := o
				if s.Ours() && s.Target.Kind == "Pod" && s.Kind == Resize {
					tree = p
				}
				if !s.Ours() {
					continue
				}
				changed, err := Patched(encode(tree.tree), s.Edits)
				if err != nil {
					continue // the server refuses it, too
				}
				if back, err := Patched(changed, Invert(s.Edits)); err != nil || string(back) != string(encode(tree.tree)) {
					t.Fatalf("%+v: %v, %s", s, err, back)
				}
			}
			var again Plan
			if err := json.Unmarshal(encode(plan), &again); err != nil || again.Check() != nil {
				t.Fatalf("%v, %v: %+v", err, again.Check(), plan)
			}
		}
	})
}
