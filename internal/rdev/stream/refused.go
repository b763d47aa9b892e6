package stream

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Refused is the error of a request that was not answered: the caller does, with Status, and Retry-After where RetryAfter is not 0.
type Refused struct {
	Status     int
	RetryAfter time.Duration
	Detail     string
}

// Error implements error.
func (r *Refused) Error() string { return r.Detail }

// refuse says that there is no room. When to come back is random, so that those who are sent away together do not come back together.
func (h *Hub) refuse(status int, format string, args ...any) error {
	h.stats.refused.Add(1)
	return &Refused{status, (2 + rand.N[time.Duration](8)) * time.Second, fmt.Sprintf(format, args...)}
}
