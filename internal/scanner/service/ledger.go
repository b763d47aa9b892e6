package service

// ledger is the memory that all workers together may have. Its user locks it.
type ledger struct {
	total, reserved int64
}

// reserve takes n bytes, or nothing where they are not there.
func (l *ledger) reserve(n int64) bool {
	if n > l.total-l.reserved {
		return false
	}
	l.reserved += n
	return true
}

func (l *ledger) release(n int64) { l.reserved -= n }
