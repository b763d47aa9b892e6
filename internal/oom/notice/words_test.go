package notice_test

import (
	"slices"
	"strings"
	"testing"

	"stella/internal/oom/notice"
)

// hasWord says that a search for the words finds a line.
func hasWord(line string) bool {
	return slices.ContainsFunc(notice.Words, func(w string) bool { return strings.Contains(line, w) })
}

// Most lines with oom in them tell of no kill, and a search passes over them.
func TestWords(t *testing.T) {
	for _, line := range []string{"room", "oom_score_adj=7", `level=info msg="RemoveContainer for \"room\""`, "memory.oom.group", "OOMKilled"} {
		if hasWord(line) {
			t.Errorf("%q has one of the words", line)
		}
	}
}
