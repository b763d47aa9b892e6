package daemon

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		args           string
		code           int
		run            bool
		stdout, stderr string // parts
	}{
		{"", OK, true, "", ""},
		{"--size 3", OK, true, "", ""},
		{"--help", OK, false, "Usage: thingd [flags]\n\nthingd does things.\n\nFlags:\n", ""},
		{"-h", OK, false, "how many", ""},
		{"--version", OK, false, "1.2.3\n", ""},
		{"--size x", Misuse, false, "", `thingd: invalid value "x" for flag -size: parse error; see thingd --help` + "\n"},
		{"--sise 3", Misuse, false, "", "thingd: flag provided but not defined: -sise; see thingd --help\n"},
		{"start", Misuse, false, "", `thingd: "start" is no flag; see thingd --help` + "\n"},
		{"--log-level loud", Misuse, false, "", "-log-level"},
	} {
		var stdout, stderr bytes.Buffer
		m := Main{Name: "thingd", Version: "1.2.3", About: "thingd does things.", Stdout: &stdout, Stderr: &stderr}
		var flags flag.FlagSet
		flags.Int("size", 0, "how many `things`")
		log, code, run := m.Parse(&flags, strings.Fields(c.args))
		if code != c.code || run != c.run || (log != nil) != c.run || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) ||
			(stdout.Len() > 0) != (c.stdout != "") || strings.Count(stderr.String(), "\n") != len(c.stderr[:min(len(c.stderr), 1)]) {
			t.Errorf("%q: %d, %v, %q, %q", c.args, code, run, stdout.String(), stderr.String())
		}
	}
}

func TestLogLevel(t *testing.T) {
	var stderr bytes.Buffer
	var flags flag.FlagSet
	log, _, _ := Main{Name: "thingd", Stderr: &stderr}.Parse(&flags, []string{"--log-level", "warn"})
	log.Info("quiet")
	log.Warn("loud")
	if got := stderr.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "loud") {
		t.Errorf("logged %q", got)
	}
}

func TestFail(t *testing.T) {
	var stderr bytes.Buffer
	m := Main{Name: "thingd", Stderr: &stderr}
	if code := m.Fail(Failed, nil); code != OK || stderr.Len() > 0 {
		t.Errorf("nothing is wrong: %d, %q", code, stderr.String())
	}
	if code := m.Fail(Failed, errors.New("no luck")); code != Failed || stderr.String() != "thingd: no luck\n" {
		t.Errorf("%d, %q", code, stderr.String())
	}
}

func TestStateDir(t *testing.T) {
	root := os.Geteuid() == 0
	for _, c := range []struct{ xdg, home, want string }{
		{"/x", "/h", "/x/stella/thing"}, {"", "/h", "/h/.local/state/stella/thing"}, {"", "", ""},
	} {
		want := c.want
		if root {
			want = "/var/lib/stella/thing"
		}
		env := map[string]string{"XDG_STATE_HOME": c.xdg, "HOME": c.home}
		if got := StateDir(func(name string) string { return env[name] }, "stella", "thing"); got != want {
			t.Errorf("%+v: %q, want %q", c, got, want)
		}
	}
}
