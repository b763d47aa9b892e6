package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func try(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err, func(name string) string { return env[name] })
	return code, out.String(), err.String()
}

// To kured 0 is a reboot. Nothing that goes wrong ends with it, nor with another code than 1.
func TestSentinelCommand(t *testing.T) {
	dir := t.TempDir()
	raw, none := filepath.Join(dir, "reboot-required"), filepath.Join(dir, "none")
	if err := os.WriteFile(raw, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, c := range []struct {
		args []string
		want string // on standard error
	}{
		{[]string{"--once", "--raw-file", none}, "no reboot is required"},
		{[]string{"--once", "--raw-file", filepath.Join(none, "x")}, "cannot be told"},
		{[]string{"--once", "--raw-file", raw}, "--kubeconfig"},
		{[]string{"--once", "--raw-file", raw, "--kubeconfig", none}, "no such file"},
		{[]string{"--once", "--raw-file", raw, "--window", "x"}, "--window"},
		{[]string{"--once", "--period", "0x"}, "-period"},
		{[]string{"--unknown", "--once"}, "unknown"},
		{[]string{"--once", "--help"}, ""},
		{[]string{"--once", "--version"}, ""},
		{[]string{"granted", "--gated-file", none}, "no such file"},
		{[]string{"granted", "--gated-file", raw}, "may not be rebooted"}, // it is there, and grants nothing
		{[]string{"granted", "--unknown"}, "unknown"},
		{[]string{"granted", "--help"}, ""},
	} {
		if code, _, stderr := try(t, nil, c.args...); code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: %d\n%s", c.args, code, stderr)
		}
	}
}

func TestMisuse(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{nil, []string{"grante"}, `"grante" is no command`},
		{nil, []string{"--raw-file", "/x", "--gated-file", "/x"}, "both /x"},
		{nil, []string{"--admin", ":9329"}, "--admin"},
		{map[string]string{"MAX_ITER": "many"}, nil, `MAX_ITER="many"`},
		{map[string]string{"MAX_ITER": "-1"}, nil, "MAX_ITER"},
		{nil, []string{"expire", "--bad"}, "bad"},
	} {
		if code, _, stderr := try(t, c.env, c.args...); code != 2 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v %q: %d\n%s", c.env, c.args, code, stderr)
		}
	}
	if code, stdout, _ := try(t, nil, "--help"); code != 0 || !strings.Contains(stdout, "--once") || !strings.Contains(stdout, "expire") {
		t.Errorf("%d\n%s", code, stdout)
	}
}
