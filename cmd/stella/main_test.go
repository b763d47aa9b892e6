package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"stella": main})
}

// TestScripts runs the command as its users do; the scripts are its specification.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			// A home of its own, so that no script meets the cache of another or of this user.
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("LANG", "C.UTF-8")
			// A program with the race detector sleeps a second before it exits.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"image":    makeImage,
			"registry": startRegistry,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
