package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/test/vm/kernel"
)

func TestEnvironment(t *testing.T) {
	got := environment([]string{
		"STELLA_REQUIRE=all", "STELLA_EMPTY=", "STELLA=no", "MY_STELLA_X=no", "GODEBUG=x=1", "GODEBUGS=no", "HOME=/home/me", "PATH=/opt/bin", "SECRET=no",
	})
	want := append(slices.Clone(guestEnv), "STELLA_REQUIRE=all", "STELLA_EMPTY=", "GODEBUG=x=1")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseRefuses(t *testing.T) {
	for commandLine, want := range map[string]string{
		"":                 "which program",
		"-memory 64 true":  "at least 128 MiB",
		"-cpus 0 true":     "at least one",
		"-timeout 0s true": "must be positive",
		"-timeout 10 true": "invalid value",
		"-nonsense true":   "not defined",
		"-disk-log x true": "there is no -disk",
	} {
		if _, err := parse(strings.Fields(commandLine)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("vm %s: %v, want %q", commandLine, err, want)
		}
	}
	o, err := parse(strings.Fields("-with a,b -with c -file x -file y:/z -modules m prog -test.v -memory 1"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([][]string{{"a", "b", "c"}, {"x", "y:/z"}, {"m"}, {"prog", "-test.v", "-memory", "1"}}, [][]string{o.programs, o.files, o.modules, o.args}); d != "" {
		t.Error(d)
	}
}

// sparse makes a file that takes no space.
func sparse(t *testing.T, name string, size int64) {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		t.Fatal(err)
	}
}

// What does not fit is refused before a machine is started.
func TestPackRefuses(t *testing.T) {
	here, elsewhere := t.TempDir(), t.TempDir()
	t.Chdir(here)
	sparse(t, filepath.Join(elsewhere, "large"), 100<<20)
	o := options{memory: 256, args: []string{"true"}}
	if err := pack(io.Discard, o, &kernel.Kernel{}); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*options){
		"-memory 3":                        func(o *options) { o.files = []string{filepath.Join(elsewhere, "large")} },
		"must be absolute":                 func(o *options) { o.files = []string{"x:y"} },
		"no such file":                     func(o *options) { o.files = []string{"none"} },
		"executable file not found":        func(o *options) { o.programs = []string{"no-such-program"} },
		"no-such-test":                     func(o *options) { o.args = []string{"./no-such-test"} },
		"at most 64 MiB go into the guest": func(*options) { sparse(t, filepath.Join(here, "large"), maxPackage+1) },
	} {
		changed := o
		change(&changed)
		if err := pack(io.Discard, changed, &kernel.Kernel{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		os.Remove(filepath.Join(here, "large"))
	}
}

func TestExitCode(t *testing.T) {
	for result, want := range map[string]string{
		`{}`:                  "0 <nil>",
		`{"Exit":7}`:          "7 <nil>",
		`{"Signal":9}`:        "137 x.test was ended by a signal: killed\nthe end",
		`{"Error":"no disk"}`: "125 in the guest: no disk\nthe end",
		`{"Exi`:               `125 the guest's result "{\"Exi": unexpected end of JSON input` + "\nthe end",
	} {
		code, err := exitCode("x.test", []byte(result), "the end")
		if got := fmt.Sprintln(code, err); got != want+"\n" {
			t.Errorf("%s: %q, want %q", result, got, want)
		}
	}
}
