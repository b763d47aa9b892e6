package kured

import (
	"encoding/json"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func kuredWith(t *testing.T, text string) *container {
	t.Helper()
	c := new(container)
	if err := json.Unmarshal([]byte(text), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRead(t *testing.T) {
	normal := settings{sentinel: "/var/run/reboot-required", period: time.Hour, port: 8080}
	with := func(change func(*settings)) settings {
		s := normal
		change(&s)
		return s
	}
	for text, want := range map[string]settings{
		`{}`: normal,
		`{"command":["/usr/bin/kured"],"args":["--force-reboot","--reboot-sentinel=/a"]}`:  with(func(s *settings) { s.sentinel = "/a" }),
		`{"args":["--reboot-sentinel=/a","--reboot-sentinel","/b"]}`:                       with(func(s *settings) { s.sentinel = "/b" }),
		`{"args":["--slack-channel","--reboot-sentinel=/a"]}`:                              normal, // the value of the other
		`{"args":["--","--reboot-sentinel=/a"]}`:                                           normal,
		`{"args":["word","-","--alert-firing-only","--period=90s","--metrics-port=9"]}`:    with(func(s *settings) { s.period, s.port = 90*time.Second, 9 }),
		`{"args":["--notify-url=$(URL)"]}`:                                                 normal, // what does not matter may be anything
		`{"args":["--reboot-sentinel-command=a b"]}`:                                       with(func(s *settings) { s.command = "a b" }),
		`{"env":[{"name":"KURED_PERIOD","value":"5m"},{"name":"PERIOD","value":"x"}]}`:     with(func(s *settings) { s.period = 5 * time.Minute }),
		`{"args":["--period=5m"],"env":[{"name":"KURED_PERIOD","value":"5m"}]}`:            with(func(s *settings) { s.period = 5 * time.Minute }),
		`{"env":[{"name":"KURED_NODE_ID","valueFrom":{"fieldRef":{}}}]}`:                   normal,
		`{"args":["--reboot-sentinel="]}`:                                                  with(func(s *settings) { s.sentinel = "" }),
		`{"args":["--reboot-sentinel-command="]}`:                                          normal,
		`{"env":[{"name":"KURED_REBOOT_SENTINEL_COMMAND","value":"kured-sentinel-gate"}]}`: with(func(s *settings) { s.command = "kured-sentinel-gate" }),
	} {
		got, err := read(kuredWith(t, text))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		`{"command":["/bin/sh","-c","kured --period=1m"]}`:                                          "not kured",
		`{"args":["--reboot-sentinel"]}`:                                                            "has no value",
		`{"args":["-reboot-sentinel=/a"]}`:                                                          "none that kured takes",
		`{"args":["$(MORE)"]}`:                                                                      "any flag",
		`{"args":["--$(WHAT)=/a"]}`:                                                                 "any flag",
		`{"args":["--reboot-sentinel=/$(DIR)/a"]}`:                                                  "reference",
		`{"args":["--reboot-sentinel=/a$$b"]}`:                                                      "reference",
		`{"args":["--period=often"]}`:                                                               "--period",
		`{"args":["--metrics-port=99999"]}`:                                                         "--metrics-port",
		`{"args":["--reboot-sentinel-command= "]}`:                                                  "blank",
		`{"env":[{"name":"KURED_REBOOT_SENTINEL","valueFrom":{"configMapKeyRef":{}}}]}`:             "somewhere else",
		`{"env":[{"name":"KURED_REBOOT_SENTINEL","value":""}]}`:                                     "is empty",
		`{"args":["--reboot-sentinel=/a"],"env":[{"name":"KURED_REBOOT_SENTINEL","value":"/b"}]}`:   "depends on the version",
		`{"env":[{"name":"KURED_PERIOD","value":"1m"},{"name":"KURED_PERIOD","value":"2m"}]}`:       "depends on the version",
		`{"envFrom":[{"secretRef":{"name":"x"}}]}`:                                                  "envFrom",
		`{"args":["--reboot-sentinel-command=x"],"env":[{"name":"KURED_REBOOT_SENTINEL_COMMAND"}]}`: "is empty",
		`{"command":["kured","--reboot-sentinel-command"]}`:                                         "has no value",
		`{"command":["$(KURED)"]}`:                                                                  "not kured",
	} {
		if got, err := read(kuredWith(t, text)); err == nil || !strings.Contains(err.Error(), want) || got != (settings{}) {
			t.Errorf("%s: %+v, %v; want %q", text, got, err, want)
		}
	}
}

func TestCommandAsks(t *testing.T) {
	type answer struct {
		Path string
		Us   bool
	}
	for command, want := range map[string]answer{
		"kured-sentinel-gate --once":                          {Us: true},
		"/opt/bin/kured-sentinel-gate --once --gated /x":      {Us: true},
		"kured-sentinel-gate":                                 {},
		"kured-sentinel-gate --version":                       {},
		"kured-sentinel-gate --once -h":                       {},
		"kured-sentinel-gate --once=false":                    {},
		"my-kured-sentinel-gate --once":                       {},
		"sh -c kured-sentinel-gate --once":                    {},
		"/usr/bin/test -f /run/gated":                         {Path: "/run/gated"},
		"test -e /run/gated":                                  {Path: "/run/gated"},
		"kured-sentinel-gate granted":                         {Path: "/var/run/gated-reboot-required"},
		"kured-sentinel-gate granted --gated-file /run/gated": {Path: "/run/gated"},
		"kured-sentinel-gate granted --gated-file=/run/gated": {Path: "/run/gated"},
		"kured-sentinel-gate granted --gated-file":            {},
		"kured-sentinel-gate granted --gated-file=/a /b":      {},
		"kured-sentinel-gate granted --gated-file /a --help":  {},
		"kured-sentinel-gate granted --help":                  {},
		"test":                                                {},
		"test -e":                                             {},
		"test ! -e /run/gated":                                {},
		"test -e /run/gated -o -e /run/reboot-required":       {},
		"test -e /run/../gated":                               {},
		"test -e gated":                                       {},
		"test -d /run/gated":                                  {},
		`test -e "/run/gated"`:                                {},
		`test -e /run/gat\ed`:                                 {},
		"test -e /run/gated#":                                 {},
	} {
		path, us := commandAsks(command)
		if diff := cmp.Diff(want, answer{path, us}); diff != "" {
			t.Errorf("%s: %s", command, diff)
		}
	}
}

// Whatever a pod looks like, a host path comes only from a volume of the host, and ends as kured's path does.
func FuzzPod(f *testing.F) {
	f.Add("kured", "--reboot-sentinel=/sentinel/x", "KURED_PERIOD", "5m", "/sentinel", "", "/var/run")
	f.Add("/usr/bin/kured", "--reboot-sentinel-command=test -e /run/x", "A", "", "/", "run", "/")
	f.Add("", "--reboot-sentinel", "KURED_REBOOT_SENTINEL", "/a/b", "/a/", "..", "relative")
	f.Fuzz(func(t *testing.T, command, arg, name, value, at, sub, host string) {
		text, err := json.Marshal(js{"spec": js{
			"containers": []any{js{
				"command": []string{command}, "args": []string{arg}, "env": []any{js{"name": name, "value": value}},
				"volumeMounts": []any{js{"name": "v", "mountPath": at, "subPath": sub}},
			}},
			"volumes": []any{js{"name": "v", "hostPath": js{"path": host}}},
		}})
		if err != nil {
			t.Skip()
		}
		p := new(pod)
		if err := json.Unmarshal(text, p); err != nil {
			t.Fatal(err)
		}
		c, err := p.kured()
		if err != nil {
			t.Fatal(err)
		}
		s, err := read(c)
		if err != nil {
			return
		}
		found, us, err := asked(p, c, s)
		if err != nil {
			return
		}
		if us == (found != "") || us && !strings.Contains(s.command, "--once") {
			t.Errorf("%s: %q, %v", text, found, us)
		}
		if found != "" && (!path.IsAbs(found) || s.command == "" && path.Base(found) != path.Base(s.sentinel)) {
			t.Errorf("%s: kured asks for %s, on the host %s", text, s.sentinel, found)
		}
	})
}
