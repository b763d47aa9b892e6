package corpus

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Amount is an amount of memory as a log has it: bytes ("4096"), "4kB", or pages ("1 pages").
type Amount struct {
	n     int64
	pages bool
}

// UnmarshalJSON reads the text.
func (a *Amount) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	digits, unit := s, int64(1)
	if d, ok := strings.CutSuffix(s, "kB"); ok {
		digits, unit = d, 1<<10
	} else if d, ok := strings.CutSuffix(s, " pages"); ok {
		digits, a.pages = d, true
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return fmt.Errorf("amount %q: %w", s, err)
	}
	a.n = n * unit
	return nil
}

// Bytes is the amount on a machine with pages of that many bytes.
func (a Amount) Bytes(pageSize int64) int64 {
	if a.pages {
		return a.n * pageSize
	}
	return a.n
}
