package inspect

import (
	"bytes"
	"context"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"stella/internal/lines"
)

const (
	// maxGauges bounds the gauges of one target, as many as stella explain looks at. The first ones are kept.
	maxGauges = 100
	// maxName bounds the name of one.
	maxName = 200
)

// runtimes begin the names of what runtimes and client libraries tell about their own process. It follows memory as it is memory, and would explain
// nothing.
var runtimes = []string{"go_", "process_", "promhttp_", "python_", "jvm_", "nodejs_", "ruby_", "dotnet_", "php_", "erlang_vm_", "scrape_"}

// counters end the names of what only rises: whatever else rises would follow it.
var counters = []string{"_total", "_count", "_sum", "_bucket", "_created"}

// exposition reads the gauges of metrics in the text format of Prometheus (version 0.0.4), each as the sum over its labels. What has no type counts as a gauge unless
// its name is a counter's. A line that is none of the format is left out: what a program means with it, nobody knows.
func exposition(ctx context.Context, r io.Reader) (map[string]float64, error) {
	in := lines.New(ctx, r)
	defer in.Close()
	values := map[string]float64{}
	var family, kind string
	for in.Next() {
		line := bytes.TrimSpace(in.Bytes())
		if rest, ok := bytes.CutPrefix(line, []byte("# TYPE ")); ok {
			if words := strings.Fields(string(rest)); len(words) == 2 {
				family, kind = words[0], words[1]
			}
			continue
		}
		name, value, ok := sampleOf(line)
		if !ok || in.Long() || !isGauge(string(name), family, kind) {
			continue
		}
		if _, known := values[string(name)]; known || len(values) < maxGauges {
			values[string(name)] += value
		}
	}
	for name, v := range values {
		if math.IsInf(v, 0) {
			delete(values, name)
		}
	}
	return values, in.Err()
}

// isGauge reports whether a sample belongs to a gauge, given the newest line about a type.
func isGauge(name, family, kind string) bool {
	if name == family {
		if kind != "gauge" && kind != "untyped" && kind != "unknown" {
			return false
		}
	} else if kind != "gauge" && strings.HasPrefix(name, family+"_") && slices.ContainsFunc(counters, func(end string) bool { return name == family+end }) {
		return false
	}
	return !slices.ContainsFunc(counters, func(end string) bool { return strings.HasSuffix(name, end) }) &&
		!slices.ContainsFunc(runtimes, func(begin string) bool { return strings.HasPrefix(name, begin) })
}

// sampleOf reads a line with a sample: NAME{LABELS} VALUE TIMESTAMP, the labels and the timestamp being optional. It is not ok where it is none, or no finite number.
func sampleOf(line []byte) (name []byte, value float64, ok bool) {
	end := 0
	for end < len(line) && nameByte(line[end]) {
		end++
	}
	name, rest := line[:end], line[end:]
	if end == 0 || end > maxName || line[0] >= '0' && line[0] <= '9' {
		return nil, 0, false
	}
	if len(rest) > 0 && rest[0] == '{' {
		close := closing(rest)
		if close < 0 {
			return nil, 0, false
		}
		rest = rest[close+1:]
	}
	words := bytes.Fields(rest)
	if len(words) != 1 && len(words) != 2 {
		return nil, 0, false
	}
	value, err := strconv.ParseFloat(string(words[0]), 64)
	return name, value, err == nil && !math.IsNaN(value) && !math.IsInf(value, 0)
}

func nameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == ':'
}

// closing is where the brace is that ends labels, in whose values braces are text; -1 is nowhere.
func closing(b []byte) int {
	quoted := false
	for i := 0; i < len(b); i++ {
		switch {
		case quoted && b[i] == '\\':
			i++
		case b[i] == '"':
			quoted = !quoted
		case b[i] == '}' && !quoted:
			return i
		}
	}
	return -1
}
