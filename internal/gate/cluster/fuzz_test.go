package cluster

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// value is what encoding/json reads of any JSON: the oracle's eyes, which share nothing with the package's.
type value struct{ any }

func (v value) at(keys ...string) value {
	for _, k := range keys {
		m, _ := v.any.(map[string]any)
		v = value{m[k]}
	}
	return v
}

func (v value) text() string {
	s, _ := v.any.(string)
	return s
}

func (v value) number() int64 {
	n, _ := v.any.(json.Number)
	i, _ := n.Int64()
	return i
}

func (v value) when() time.Time {
	t, _ := time.Parse(time.RFC3339, v.text())
	return t
}

func (v value) list() []value {
	all, _ := v.any.([]any)
	var values []value
	for _, a := range all {
		values = append(values, value{a})
	}
	return values
}

func (v value) ready() bool {
	said := false
	for _, c := range v.at("status", "conditions").list() {
		if c.at("type").text() == "Ready" {
			if said = true; c.at("status").text() != "True" {
				return false
			}
		}
	}
	return said
}

func (v value) name() string           { return v.at("metadata", "name").text() }
func (v value) cordoned() bool         { return v.at("spec", "unschedulable").any == true }
func (v value) label(key string) value { return v.at("metadata", "labels", key) }
func (v value) ended() bool {
	return slices.Contains([]string{"Succeeded", "Failed"}, v.at("status", "phase").text())
}

// all says whether an answer is a whole list of a kind, each object of which is well, and has more than some.
func (v value) all(kind string, some int, well func(value) bool) bool {
	items, isList := v.at("items").any.([]any)
	if v.at("kind").text() != kind+"List" || !isList || len(items) < some || v.at("metadata", "continue").text() != "" {
		return false
	}
	for _, i := range v.at("items").list() {
		if i.name() == "" || !well(i) {
			return false
		}
	}
	return true
}

func (v value) is(kind, name string) bool { return v.at("kind").text() == kind && v.name() == name }

func (v value) free() bool {
	annotation := v.at("metadata", "annotations", gate.HoldAnnotation)
	if annotation.any == nil {
		return true
	}
	h, err := gate.ReadHold(annotation.text())
	return err == nil && !h.Until.IsZero() && !h.Until.After(time.Now())
}

func (v value) has(name string) bool {
	return slices.ContainsFunc(v.at("items").list(), func(i value) bool { return i.name() == name })
}

func (v value) soaked() bool {
	if v.name() == "n1" {
		return true
	}
	var told struct {
		ID string    `json:"id"`
		At time.Time `json:"at"`
	}
	err := json.Unmarshal([]byte(v.at("metadata", "annotations", BootAnnotation).text()), &told)
	return err == nil && told.ID != "" && told.ID == v.at("status", "nodeInfo", "bootID").text() &&
		(told.At.Before(v.at("metadata", "creationTimestamp").when()) || time.Since(told.At) > 24*time.Hour-time.Minute)
}

func (v value) masters() (n int) {
	for _, i := range v.at("items").list() {
		if i.name() != "n1" && i.ready() && !i.cordoned() && (i.label("node-role.kubernetes.io/control-plane").any != nil || i.label("node-role.kubernetes.io/master").any != nil) {
			n++
		}
	}
	return n
}

func (v value) podsReady() (n int) {
	for _, i := range v.at("items").list() {
		if i.ready() && !i.ended() {
			n++
		}
	}
	return n
}

// keeps says whether a selector has the pod whose label app is this.
func (v value) keeps(app string) bool {
	if v.any == nil {
		return false
	}
	labels := map[string]string{"app": app}
	want, _ := v.at("matchLabels").any.(map[string]any)
	for k, w := range want {
		if has, ok := labels[k]; !ok || w != has {
			return false
		}
	}
	for _, e := range v.at("matchExpressions").list() {
		has, ok := labels[e.at("key").text()]
		in := ok && slices.ContainsFunc(e.at("values").list(), func(v value) bool { return v.text() == has })
		if right := map[string]bool{"In": in, "NotIn": !in, "Exists": ok, "DoesNotExist": !ok}[e.at("operator").text()]; !right {
			return false
		}
	}
	return true
}

// allows says whether budgets let both pods of the world go.
func (v value) allows() bool {
	for _, app := range []string{"web", "db"} {
		of := 0
		for _, b := range v.at("items").list() {
			if b.at("metadata", "namespace").text() != "shop" || !b.at("spec", "selector").keeps(app) {
				continue
			}
			of++
			generation := b.at("metadata", "generation").number()
			if b.at("status", "disruptionsAllowed").number() < 1 || generation == 0 || b.at("status", "observedGeneration").number() < generation {
				return false
			}
		}
		if of > 1 {
			return false
		}
	}
	return true
}

// evictable says whether a pod may go although the budget of its like allows nothing, three of two wanted pods being healthy.
func (v value) evictable() bool {
	daemon := slices.ContainsFunc(v.at("metadata", "ownerReferences").list(), func(o value) bool {
		return o.at("controller").any == true && o.at("kind").text() == "DaemonSet"
	})
	return daemon || v.at("metadata", "annotations", "kubernetes.io/config.mirror").any != nil || v.ended() || v.at("status", "phase").text() == "Pending" ||
		v.at("metadata", "deletionTimestamp").any != nil || !v.ready() || v.at("metadata", "namespace").text() != "shop" || v.label("app").text() != "web"
}

func any1(value) bool { return true }

// question is one that a check asks, and what the oracle says of its answer.
type question struct {
	check, path string
	healthy     func(value) bool
}

var questions = []question{
	{"nodes", nodesPath, func(v value) bool {
		return v.all("Node", 1, func(n value) bool { return n.ready() && (!n.cordoned() || n.name() == "n1") }) && v.has("n1")
	}},
	{"soak", nodesPath, func(v value) bool { return v.all("Node", 1, value.soaked) && v.has("n1") }},
	{"soak", ownPath, func(v value) bool {
		return v.is("Node", "n1") && v.at("status", "nodeInfo", "bootID").text() == ownBoot
	}},
	{"control_plane", nodesPath, func(v value) bool { return v.all("Node", 1, any1) && v.has("n1") && v.masters() >= 2 }},
	{"hold", ownPath, func(v value) bool { return v.is("Node", "n1") && v.free() }},
	{"hold", leasePath, func(v value) bool { return v.is("Lease", gate.LeaseName) && v.free() }},
	{"workloads", calicoPath, func(v value) bool {
		return v.podsReady() >= 2 && v.all("Pod", 2, func(p value) bool { return p.ended() || p.ready() && p.at("metadata", "deletionTimestamp").any == nil })
	}},
	{"workloads", setPath, func(v value) bool {
		s, generation := v.at("status"), v.at("metadata", "generation").number()
		desired := s.at("desiredNumberScheduled").number()
		return v.is("DaemonSet", "proxy") && generation != 0 && s.at("observedGeneration").number() >= generation && desired != 0 && s.at("numberReady").number() >= max(desired, 2) &&
			(s.at("updatedNumberScheduled").number() >= desired || v.at("spec", "updateStrategy", "type").text() == "OnDelete")
	}},
	{"claims", claimsPath, func(v value) bool {
		return v.all("PersistentVolumeClaim", 0, func(c value) bool {
			waits := c.at("spec", "storageClassName").text() == "late" && c.at("metadata", "annotations", "volume.kubernetes.io/selected-node").any == nil
			return c.at("status", "phase").text() == "Bound" || c.at("status", "phase").text() == "Pending" && waits
		})
	}},
	{"claims", classesPath, func(v value) bool {
		return v.all("StorageClass", 0, any1)
	}},
	{"budgets", budgetsPath, func(v value) bool { return v.all("PodDisruptionBudget", 0, any1) && v.allows() }},
	{"budgets", podsPath, func(v value) bool { return v.all("Pod", 1, value.evictable) }},
}

// questioner has a server on which one answer is another.
type questioner struct {
	world      map[string]string
	client     *kube.Client
	options    options
	path, body string
}

func newQuestioner(t testing.TB) *questioner {
	q := &questioner{world: world(), options: defaults(t)}
	// A budget that allows nothing, so that it matters which pods there are.
	none := strings.Replace(q.world[budgetsPath], `"disruptionsAllowed":1`, `"disruptionsAllowed":0`, 1)
	q.options.claims.IgnoreUnplaced = true
	q.client = server(t, func(rw http.ResponseWriter, r *http.Request) {
		text := q.world[r.URL.Path]
		switch r.URL.Path {
		case q.path:
			text = q.body
		case budgetsPath:
			text = none
		}
		io.WriteString(rw, text)
	})
	return q
}

// passes says whether a check passes on an answer, which is a failure where the oracle says otherwise.
func (a *questioner) passes(t *testing.T, q question, answer string) bool {
	a.path, a.body = q.path, answer
	r := run(t.Context(), a.client, a.options, q.check)[0]
	if r.Outcome != gate.Pass {
		if r.Reason == "" || r.Detail == "" {
			t.Fatalf("%s: %+v", q.check, r)
		}
		return false
	}
	d := json.NewDecoder(strings.NewReader(answer))
	d.UseNumber()
	var v value
	if err := d.Decode(&v.any); err != nil || !q.healthy(v) {
		t.Fatalf("%s passes: %s\n%s %v", q.check, r.Detail, answer, err)
	}
	return true
}

// An answer never opens the gate, unless who reads it with other eyes finds the cluster well.
func FuzzAnswers(f *testing.F) {
	ask := newQuestioner(f)
	for i, q := range questions {
		f.Add(uint8(i), []byte(ask.world[q.path]))
	}
	f.Fuzz(func(t *testing.T, which uint8, answer []byte) {
		ask.passes(t, questions[int(which)%len(questions)], string(answer))
	})
}

// mutate puts one thing of an answer in place of another, or twice, or leaves it out: JSON mostly, where a fuzzer's bytes are seldom.
func mutate(r *rand.Rand, body string, words []string) string {
	tokens := token.FindAllString(body, -1)
	for range 1 + r.IntN(2) {
		i := r.IntN(len(tokens))
		switch r.IntN(4) {
		case 0:
			tokens[i] = words[r.IntN(len(words))]
		case 1: // a value of the answer
			tokens[i] = tokens[r.IntN(len(tokens))]
		case 2: // a stretch of it twice: members, objects
			j := min(i+2*r.IntN(20), len(tokens))
			tokens = slices.Insert(tokens, j, tokens[i:j:j]...)
		case 3:
			tokens = slices.Delete(tokens, i, min(i+4*r.IntN(10)+4, len(tokens)))
		}
		if len(tokens) == 0 {
			return ""
		}
	}
	return strings.Join(tokens, "")
}

// token is one of JSON, with what separates it from the next.
var token = regexp.MustCompile(`"(\\.|[^"\\])*"[,:]?|[{[\]}],?|[^"{}[\],]+,?`)

// The same as FuzzAnswers says, of many answers that are nearly right.
func TestMutatedAnswers(t *testing.T) {
	words := []string{
		`"True",`, `"True"`, `"False",`, `"Unknown",`, `"Ready",`, `"status":`, `"Status":`, `"conditions":`, `"type":`, `"Bound"`, `"Pending"`, `"phase":`, `null,`, `null`, `{},`, `[],`, `0,`, `0`, `1,`, `7`, `-1,`, `true,`, `false,`,
		`"In",`, `"NotIn",`, `"Exists"`, `"matchExpressions":`, `"matchLabels":`, `"app":`, `"n1",`, `"Running",`, `"Failed",`, `"Succeeded",`, `"deletionTimestamp":`, `"gate.stella/hold":`, `"unschedulable":`, `"items":`, `"kind":`, `"metadata":`, `"continue":`,
	}
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	ask := newQuestioner(t)
	passed := map[string]int{}
	for i := range 6_000 {
		q := questions[i%len(questions)]
		body := mutate(r, ask.world[q.path], words)
		if ask.passes(t, q, body) {
			passed[q.check]++
		}
	}
	for check := range paths {
		if passed[check] < 5 {
			t.Errorf("%s passed %d times, which shows little", check, passed[check])
		}
	}
	t.Log(passed)
}
