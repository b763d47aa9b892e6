package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
)

func TestSoak(t *testing.T) {
	told := func(id, at string) string {
		return strings.ReplaceAll(fmt.Sprintf(`{"id":%q,"at":%q}`, id, at), `"`, `\"`)
	}
	testCases(t, "soak", map[string]testCase{
		"a node was booted lately":   {nodesPath, told("boot-1", ago(50*time.Hour)), told("boot-1", ago(time.Hour)), nil, ReasonSoaking, "c1 was rebooted 1h"},
		"in the future":              {nodesPath, told("boot-1", ago(50*time.Hour)), told("boot-1", ago(-time.Hour)), nil, ReasonSoaking, "c1 was rebooted 0s ago"},
		"the own node was":           {nodesPath, "", world()[nodesPath], func(o *options) { o.soak.Proc = proc(t, 2*time.Hour) }, ReasonSoaking, "n1 was rebooted 1h5"},
		"a node has booted, untold":  {nodesPath, `"bootID":"boot-1"`, `"bootID":"boot-9"`, nil, ReasonRebooted, "not told when: c1"},
		"a node has no boot":         {nodesPath, `"bootID":"boot-1"`, `"bootID":null`, nil, ReasonNotTold, "c1"},
		"a gate never told":          {nodesPath, `gate.stella/boot`, `other/boot`, nil, ReasonNotTold, "c1"},
		"untold, and allowed":        {nodesPath, `gate.stella/boot`, `other/boot`, func(o *options) { o.soak.AllowUntold = true }, "", "c1 was rebooted 49h"},
		"untold, and ready lately":   {nodesPath, `gate.stella/boot`, `other/boot`, func(o *options) { o.soak.AllowUntold, o.soak.For = true, 60*time.Hour }, ReasonSoaking, "c1"},
		"told nothing":               {nodesPath, told("boot-1", ago(50*time.Hour)), ``, nil, ReasonUnreadable, "c1"},
		"told no time":               {nodesPath, told("boot-1", ago(50*time.Hour)), `{\"id\":\"boot-1\"}`, nil, ReasonUnreadable, "lacks"},
		"the kubelet says otherwise": {ownPath, ownBoot + `"}}`, `other"}}`, nil, ReasonNoBoot, "kubelet"},
		"no procfs":                  {ownPath, "", world()[ownPath], func(o *options) { o.soak.Proc = t.TempDir() }, ReasonNoBoot, "which boot"},
		"another node":               {ownPath, `"n1"`, `"n2"`, nil, ReasonBadAnswer, `the object "n2"`},
	})
}

func TestSoakSaysUntilWhen(t *testing.T) {
	w, o := world(), defaults(t)
	o.soak.Proc = proc(t, 23*time.Hour)
	r := run(t.Context(), serve(t, w), o, "soak")[0]
	if left := time.Until(r.Until); r.Reason != ReasonSoaking || left < 59*time.Minute || left > 61*time.Minute || r.Blockers[0] != "n1" {
		t.Errorf("%+v", r)
	}
	// A node that was made after it was booted has joined, and not rebooted.
	w[ownPath] = strings.Replace(w[ownPath], ago(1000*time.Hour), ago(22*time.Hour), 1)
	if r := run(t.Context(), serve(t, w), o, "soak")[0]; r.Outcome != gate.Pass || !strings.Contains(r.Detail, "c1 was rebooted") {
		t.Errorf("%+v", r)
	}
	w[nodesPath] = strings.ReplaceAll(w[nodesPath], ago(1000*time.Hour), ago(22*time.Hour))
	if r := run(t.Context(), serve(t, w), o, "soak")[0]; r.Outcome != gate.Pass || !strings.Contains(r.Detail, "none of 3 nodes") {
		t.Errorf("%+v", r)
	}
}

// What a gate tells is true by the server's clock, however wrong the node's own is.
func TestTellBoot(t *testing.T) {
	const skew = 17 * time.Minute
	text, patches := world()[ownPath], 0
	text = strings.Replace(text, "gate.stella/boot", "other", 1)
	c := server(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(skew).UTC().Format(http.TimeFormat))
		if r.Method == http.MethodPatch {
			patches++
			var body struct {
				Metadata struct{ Annotations map[string]string }
			}
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Content-Type") != "application/merge-patch+json" {
				t.Error(err, r.Header)
			}
			text = strings.Replace(world()[ownPath], `"annotations":{`, fmt.Sprintf(`"annotations":{"gate.stella/boot":%q,"x":`, body.Metadata.Annotations[BootAnnotation]), 1)
			text = strings.Replace(text, `"x":"gate.stella/boot":`, `"x":`, 1)
		}
		io.WriteString(rw, text)
	})
	b, err := ReadBoot(proc(t, 5*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to tell
		if err := TellBoot(t.Context(), c, "n1", b); err != nil || patches != 1 {
			t.Errorf("%d changes, %v", patches, err)
		}
	}
	var n node
	if err := json.Unmarshal([]byte(text), &n); err != nil || n.boot == nil {
		t.Fatal(err, text)
	}
	told, err := readTold(*n.boot)
	if off := told.At.Sub(time.Now().Add(skew - 5*time.Hour)); err != nil || told.ID != ownBoot || off < 0 || off > 4*time.Second {
		t.Errorf("%+v, off by %v, %v", told, off, err)
	}
	// What is far off, or of another boot, is told anew.
	b.Uptime += time.Hour
	if err := TellBoot(t.Context(), c, "n1", b); err != nil || patches != 2 {
		t.Errorf("%d changes, %v", patches, err)
	}
	b.ID = "0fc542e4-ea54-48ac-946a-98c44b713181"
	if err := TellBoot(t.Context(), c, "n1", b); err != nil || patches != 3 {
		t.Errorf("%d changes, %v", patches, err)
	}
	if err := TellBoot(t.Context(), serve(t, map[string]string{}), "n1", b); Reason(err) != ReasonNotFound {
		t.Error(err)
	}
}

func TestReadBoot(t *testing.T) {
	b, err := ReadBoot("/proc")
	if err != nil || b.Uptime <= 0 {
		t.Errorf("%+v, %v", b, err)
	}
	for name, text := range map[string]string{
		"uptime":                    "soon 1\n",
		"sys/kernel/random/boot_id": "\n",
	} {
		dir := proc(t, time.Hour)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := ReadBoot(dir); err == nil {
			t.Errorf("%s: %+v", name, b)
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if b, err := ReadBoot(dir); err == nil {
			t.Errorf("no %s: %+v", name, b)
		}
	}
}

func FuzzBoot(f *testing.F) {
	f.Add(ownBoot, "58525.15 40939.66\n")
	f.Add(ownBoot, "NaN 0")
	f.Add(ownBoot, "1e300")
	f.Fuzz(func(t *testing.T, id, up string) {
		if b, err := parseBoot(id, up); err == nil && (b.ID == "" || b.Uptime < 0 || b.Uptime > maxUptime) {
			t.Fatalf("%+v", b)
		}
	})
}
