package machine

import "strings"

// maxTail is how many bytes of the console are kept: about a hundred lines, which
// is the kernel's account of an OOM kill or a panic.
const maxTail = 8 << 10

// tail is a writer that keeps the last bytes.
type tail struct {
	kept []byte
	cut  bool
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
		t.cut = true
	}
	return len(p), nil
}

// report is the tail for people, without a line that was cut in two.
func (t *tail) report() string {
	text := string(t.kept)
	if t.cut {
		_, text, _ = strings.Cut(text, "\n")
	}
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	if text == "" {
		return "The machine's console showed nothing."
	}
	return "The end of the machine's console:\n" + text
}
