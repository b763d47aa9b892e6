package cli

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"stella/internal/scanner"
)

var memoryLimit = scanner.Setting{
	Key: "worker.memory_limit", Value: "64Mi", Default: "64Mi", Origin: "default", Kind: "size", Range: "bytes", Restart: true, Doc: "memory limit",
}

func TestConfigGet(t *testing.T) {
	f := newFakeService(t, map[string]any{"GET /v1/settings": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("key") {
		case "worker.memory_limit", "worker":
			writeJSON(w, []scanner.Setting{memoryLimit})
		case "":
			writeJSON(w, []scanner.Setting{memoryLimit, {Key: "timeouts.scan", Value: "30m", Origin: "set by uid 0"}})
		default:
			refuse(http.StatusUnprocessableEntity, r.FormValue("key")+": no such setting")(w, r)
		}
	})})
	f.run(t, "scanner", "config", "get", "worker.memory_limit").want(t, ExitOK, "64Mi\n", "")
	f.run(t, "scanner", "config", "get", "worker").want(t, ExitOK, "KEY                  VALUE  ORIGIN\nworker.memory_limit  64Mi   default\n", "")
	f.run(t, "scanner", "config", "get", "worker.memory_limit", "-o", "wide").want(t, ExitOK,
		"KEY                  VALUE  ORIGIN   DEFAULT  RESTART  ALLOWED  WHAT IT DOES\n"+
			"worker.memory_limit  64Mi   default  64Mi     yes      bytes    memory limit\n", "")
	f.run(t, "scanner", "config", "list").want(t, ExitOK,
		"KEY                  VALUE  ORIGIN\nworker.memory_limit  64Mi   default\ntimeouts.scan        30m    set by uid 0\n", "")
	// One key is an object, a group is a list.
	if got := f.run(t, "scanner", "config", "get", "worker.memory_limit", "-o", "json"); !strings.HasPrefix(got.stdout, "{\n  \"key\": \"worker.memory_limit\"") {
		t.Errorf("JSON of one setting: %s", got.stdout)
	}
	if got := f.run(t, "scanner", "config", "get", "worker", "-o", "json"); !strings.HasPrefix(got.stdout, "[\n") {
		t.Errorf("JSON of a group: %s", got.stdout)
	}
	f.run(t, "scanner", "config", "get", "worker.memory_limt").want(t, ExitUsage, "",
		"stella: worker.memory_limt: no such setting; did you mean \"worker.memory_limit\"?\n")
}

func TestConfigSet(t *testing.T) {
	f := newFakeService(t, map[string]any{
		"PUT /v1/settings/worker.memory_limit": scanner.SettingChange{
			Setting: scanner.Setting{Key: "worker.memory_limit", Value: "8Gi", Origin: "set by uid 0"}, Old: "64Mi", Workers: []string{"default-0", "default-1"},
		},
		"PUT /v1/settings/routing.large_image_pool": scanner.SettingChange{
			Setting: scanner.Setting{Key: "routing.large_image_pool", Value: "large"}, Warnings: []string{"there is no pool large yet"},
		},
		"PUT /v1/settings/worker.count":     refuse(http.StatusUnprocessableEntity, `worker.count: "x" is no whole number; allowed: a whole number from 1 to 256`),
		"DELETE /v1/settings/timeouts.scan": scanner.SettingChange{Setting: scanner.Setting{Key: "timeouts.scan", Value: "30m"}, Old: "30m"},
	})
	f.run(t, "scanner", "config", "set", "worker.memory_limit", "8Gi").want(t, ExitOK,
		"worker.memory_limit: 64Mi -> 8Gi\n2 workers still run with the old value: default-0, default-1\nrestart with: stella scanner workers restart\n", "")
	f.run(t, "scanner", "config", "set", "routing.large_image_pool", "large").want(t, ExitOK,
		"routing.large_image_pool: \"\" -> large\n", "stella: warning: there is no pool large yet\n")
	f.run(t, "scanner", "config", "set", "worker.count", "x").want(t, ExitUsage, "",
		"stella: worker.count: \"x\" is no whole number; allowed: a whole number from 1 to 256\n")
	f.run(t, "scanner", "config", "unset", "timeouts.scan").want(t, ExitOK, "timeouts.scan: 30m, as before\n", "")
	wantRequests(t, f,
		`PUT /v1/settings/worker.memory_limit {"value":"8Gi"}`,
		`PUT /v1/settings/routing.large_image_pool {"value":"large"}`,
		`PUT /v1/settings/worker.count {"value":"x"}`,
		`DELETE /v1/settings/timeouts.scan`,
	)
}

func TestChangeOfManyWorkers(t *testing.T) {
	c := scanner.SettingChange{Setting: scanner.Setting{Key: "k", Value: "b"}, Old: "a", Workers: make([]string, 20)}
	for i := range c.Workers {
		c.Workers[i] = "w"
	}
	var out bytes.Buffer
	if err := writeChange(&out, &c, "→"); err != nil {
		t.Fatal(err)
	}
	if want := "k: a → b\n20 workers still run with the old value: w, w, w, w, w, w, w, w and 12 more\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("said %q; want %q", out.String(), want)
	}
}
