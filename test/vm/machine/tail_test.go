package machine

import (
	"fmt"
	"strings"
	"testing"
)

func TestTailKeepsTheEnd(t *testing.T) {
	var end tail
	if got := end.report(); !strings.Contains(got, "nothing") {
		t.Errorf("empty: %q", got)
	}
	for i := range 10_000 {
		fmt.Fprintf(&end, "line %d\r\n", i)
	}
	got := end.report()
	if len(got) > maxTail+100 || cap(end.kept) > 4*maxTail {
		t.Errorf("%d bytes reported, %d held", len(got), cap(end.kept))
	}
	if !strings.HasSuffix(got, "\nline 9998\nline 9999") || !strings.HasPrefix(got, "The end of the machine's console:\nline 9") {
		t.Errorf("%.80q … %q", got, got[len(got)-80:])
	}
}
