package explain

import (
	"fmt"
	"math"
	"time"

	"stella/internal/bytesize"
	"stella/internal/oom"
)

// Weights of evidence: what a fact adds to, or takes from, the natural logarithm of the odds of a cause (Good, Probability and the Weighing
// of Evidence, 1950). A hint makes it three times as likely, a sign seven times, a proof fifty.
const (
	hint  = 1.0
	sign  = 2.0
	proof = 4.0
	// prior are the odds of a cause before anything is known of this container: 1 in 20, as there are about as many causes.
	prior = -3.0
)

// claim is one cause on trial.
type claim struct {
	cause   Cause
	odds    float64 // natural logarithm
	summary string
	forIt   []Evidence
	against []Evidence
	gauge   *Followed
}

// newClaim begins one.
func newClaim(c Cause, summary string) *claim { return &claim{cause: c, odds: prior, summary: summary} }

// pro adds a fact that speaks for it.
func (c *claim) pro(weight float64, e Evidence) {
	c.odds += weight
	c.forIt = append(c.forIt, e)
}

// con adds a fact that speaks against it.
func (c *claim) con(weight float64, e Evidence) {
	c.odds -= weight
	c.against = append(c.against, e)
}

// confidence is how likely it is by its odds.
func (c *claim) confidence() float64 { return 1 / (1 + math.Exp(-c.odds)) }

// fact is evidence about no time in particular.
func fact(format string, args ...any) Evidence { return Evidence{Text: fmt.Sprintf(format, args...)} }

// fact is evidence about a life.
func (l *life) fact(format string, args ...any) Evidence {
	return Evidence{Text: fmt.Sprintf(format, args...), From: l.samples[0].Time, To: l.ended()}
}

// killFact is evidence about a kill.
func killFact(k *oom.Kill, format string, args ...any) Evidence {
	return Evidence{Text: fmt.Sprintf(format, args...), From: k.Time, To: k.Time, Kill: k.ID}
}

// size writes bytes for people.
func size(bytes float64) string {
	if bytes < 0 {
		return "-" + bytesize.Text(int64(-bytes))
	}
	return bytesize.Text(int64(bytes))
}

// lasting writes seconds for people.
func lasting(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 10*time.Minute:
		return d.Round(time.Minute).String()
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// percent writes a share for people.
func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }
