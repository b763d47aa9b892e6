package notice

import (
	"bytes"
	"strconv"
	"time"
)

// idDigits is the length of the ID of a container.
const idDigits = 64

// containerID is the ID that a text begins with.
func containerID(text []byte) (string, bool) {
	if len(text) < idDigits || !isHex(text[:idDigits]) {
		return "", false
	}
	return string(text[:idDigits]), true
}

func isHex(text []byte) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// digits are those that a text begins with.
func digits(text []byte) []byte {
	for i, c := range text {
		if c < '0' || c > '9' {
			return text[:i]
		}
	}
	return text
}

// number is what digits say, if a process can have it as its number.
func number(text []byte) (int, bool) {
	n, err := strconv.ParseInt(string(text), 10, 32)
	return int(n), err == nil
}

// cutLast is bytes.Cut at the last separator.
func cutLast(text []byte, separator string) (before, after []byte, ok bool) {
	i := bytes.LastIndex(text, []byte(separator))
	if i < 0 {
		return text, nil, false
	}
	return text[:i], text[i+len(separator):], true
}

// attribute is the value behind a key in the parentheses that docker prints.
func attribute(text []byte, key string) string {
	for _, before := range []string{"(", ", "} {
		if _, value, ok := bytes.Cut(text, []byte(before+key)); ok {
			end := bytes.IndexAny(value, ",)")
			if end < 0 {
				return ""
			}
			return string(value[:end])
		}
	}
	return ""
}

// stamp is the time that containerd writes into its lines, as time="…" or "time":"…"; zero where there is none.
func stamp(text []byte) time.Time {
	for _, key := range []string{`time="`, `"time":"`} {
		if _, rest, ok := bytes.Cut(text, []byte(key)); ok {
			value, _, _ := bytes.Cut(rest, []byte(`"`))
			return parseTime(value)
		}
	}
	return time.Time{}
}

// stampAt is the time that is the last word of a text.
func stampAt(text []byte) time.Time {
	return parseTime(text[bytes.LastIndexByte(text, ' ')+1:])
}

func parseTime(text []byte) time.Time {
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		return time.Time{}
	}
	return at
}
