package kmsg

import "bytes"

// number reads the decimal number at the start of b. One that no int64 holds is the greatest there is.
func number(b []byte) (n int64, rest []byte, ok bool) {
	const most = 1<<63 - 1
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		d := int64(b[i] - '0')
		if n > (most-d)/10 {
			n = most
			continue
		}
		n = n*10 + d
	}
	return n, b[i:], i > 0
}

// integer is number with an optional minus sign.
func integer(b []byte) (n int64, rest []byte, ok bool) {
	digits, negative := bytes.CutPrefix(b, []byte("-"))
	n, rest, ok = number(digits)
	if negative {
		n = -n
	}
	return n, rest, ok
}

// after is what follows the first key in b.
func after(b []byte, key string) ([]byte, bool) {
	if i := index(b, key); i >= 0 {
		return b[i+len(key):], true
	}
	return nil, false
}

// index is bytes.Index for a constant.
func index(b []byte, s string) int { return bytes.Index(b, []byte(s)) }

// hasPrefix is bytes.HasPrefix for a constant.
func hasPrefix(b []byte, s string) bool { return len(b) >= len(s) && string(b[:len(s)]) == s }

// hasSuffix is bytes.HasSuffix for a constant.
func hasSuffix(b []byte, s string) bool { return len(b) >= len(s) && string(b[len(b)-len(s):]) == s }

// cutPrefix is bytes.CutPrefix for a constant.
func cutPrefix(b []byte, s string) ([]byte, bool) {
	if !hasPrefix(b, s) {
		return b, false
	}
	return b[len(s):], true
}

// unlimited is from where on a limit is none: the kernel's greatest is 2⁶³ less a page, whatever the page.
const unlimited = 1 << 60

// product is n × unit for amounts of memory: 0, which is not known, where that would be more than any machine has.
func product(n, unit int64) int64 {
	if n < 0 || n > (1<<62)/unit {
		return 0
	}
	return n * unit
}

// kilobytes reads the amount in kB behind a key, in bytes.
func kilobytes(b []byte, key string) (int64, bool) {
	rest, ok := after(b, key)
	if !ok {
		return 0, false
	}
	n, rest, ok := number(rest)
	// A number that is cut is a wrong number.
	if !ok || !hasPrefix(rest, "kB") {
		return 0, false
	}
	return product(n, 1024), true
}

// space trims spaces and tabs at the front.
func space(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// token is the next word of b, and what follows it.
func token(b []byte) (word, rest []byte) {
	b = space(b)
	if i := bytes.IndexByte(b, ' '); i >= 0 {
		return b[:i], b[i:]
	}
	return b, nil
}
