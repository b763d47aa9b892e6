package corpus_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"

	"stella/internal/oom/corpus"
)

// program is the name of a program, other than the kernel, before a message.
var program = regexp.MustCompile(`^(?:\w{3} [ \d]\d [\d:.]+|\d{4}-\d\d-\d\dT[\d:.+Z]+) \S+ ([\w.-]+)(?:\[\d+\])?: |^\S+ (stdout|stderr) F |: user: `)

// messages are those of the kernel in a log, which the rules of other tools (package oracle) are given. Where a journal's record has several lines, it is one message.
func messages(t *testing.T, c corpus.Case) (all []string) {
	t.Helper()
	log := c.Log
	if bytes.HasPrefix(log, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		if log, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	text := string(log)
	if strings.Contains(text, `"Output": "`) { // a console in JSON
		text = strings.ReplaceAll(text, `\r\n`, "\n")
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, `{"`) {
			var entry struct {
				Transport string `json:"_TRANSPORT"`
				Message   any    `json:"MESSAGE"`
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Transport != "kernel" {
				continue
			}
			if line, _ = entry.Message.(string); line == "" {
				var b []byte
				for _, n := range entry.Message.([]any) {
					b = append(b, byte(n.(float64)))
				}
				line = string(b)
			}
		}
		if m := program.FindStringSubmatch(line); m != nil && m[1] != "kernel" {
			continue
		}
		all = append(all, line)
	}
	return all
}
