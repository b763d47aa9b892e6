// Package gate runs the reboot gate as it is released, and in cycles without pauses, against a double of its cluster (see test/gate/double): its
// memory and forks for as long as months would be, and what becomes of the gated file when anything fails.
//
// Vocabulary: a double is one cluster with its gates. The gates of one double differ by node; the files of each are in the
// directory of its node's name. All checks are on unless a test says otherwise, and all pass until a test lets something fail.
package gate

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"stella/internal/testkit/released"
)

// patience is how long anything may take on a machine with much else to do.
const patience = time.Minute

// atOnce is how many tests run at the same time: they wait more than they work.
const atOnce = "32"

var programs = released.New("stella/cmd/kured-sentinel-gate", "stella/test/gate/cycles", "stella/test/gate/double", "stella/test/hog")

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(programs.Run(m))
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("it takes too long: %s", what)
		}
	}
}

// there reports whether there is a file.
func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// write writes a file at once, so that nobody reads half of it.
func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
