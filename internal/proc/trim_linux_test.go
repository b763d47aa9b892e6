package proc_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"stella/internal/proc"
)

// residentFile is how much is resident of files, in KiB.
func residentFile(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("there is no RssFile")
	return 0
}

var kept = []byte("what is written is kept")

// Pages of the program go, and what the program wrote stays.
func TestTrim(t *testing.T) {
	kept[0] = 'W'
	before := residentFile(t)
	if err := proc.Trim(); err != nil {
		t.Fatal(err)
	}
	if after := residentFile(t); after >= before*9/10 {
		t.Errorf("%d KiB of files are resident, and before it were %d", after, before)
	}
	if string(kept) != "What is written is kept" {
		t.Errorf("%q", kept)
	}
}
