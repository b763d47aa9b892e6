package explain

import (
	"fmt"
	"math"
)

const (
	// room is the share that a limit has above the most that was seen, so that this is not more than 80 % of it.
	room = 0.25
	// unseen is the share that it has where the kernel ended a rise, so that nobody knows where it would have gone.
	unseen = 1.0
	// leastLimit is the smallest limit that is recommended, in bytes.
	leastLimit = 16 << 20
)

// recommend is a limit for a cause that a limit cures. What grows without an end, or what others did, it does not.
func (v *view) recommend(cause Cause) *Recommendation {
	if v.limit == 0 || v.seen <= 0 {
		return nil
	}
	seen, headroom, why := v.seen, room*v.seen, ""
	switch cause {
	case LimitTooLow, StartUp:
		why = fmt.Sprintf("so that the most that was seen is at most %s of the limit", percent(1/(1+room)))
	case Spike, LargeInput:
		if len(v.own) > 0 {
			headroom = unseen * seen
			why = "as the kernel ended a rise, and nobody knows where it would have gone: look again when it has lasted"
		} else {
			why = fmt.Sprintf("so that the most that was seen is at most %s of the limit", percent(1/(1+room)))
		}
	case Children:
		largest := 0.0
		for i := range v.own {
			largest = max(largest, min(resident(v.own[i].Process), maxBytes))
		}
		headroom = max(unseen*seen, (seen+2*largest)*(1+room)-seen)
		why = fmt.Sprintf("for two more children like the largest victim of %s, and the share that is left free", size(largest))
	default:
		return nil
	}
	bytes := roundUp(max(seen+headroom, leastLimit))
	if float64(bytes) <= v.limit {
		return nil // there is room enough
	}
	all := values(v.allNeed())
	return &Recommendation{
		Bytes: bytes, Seen: int64(seen), Headroom: bytes - int64(seen),
		Reason: fmt.Sprintf("%s was the most that was seen (p50 %s, p99 %s of %d samples, and %d kills at the limit of %s); %s are added, %s.",
			size(seen), size(quantile(all, 0.5)), size(quantile(all, 0.99)), len(all), len(v.own), size(v.limit), size(float64(bytes)-seen), why),
	}
}

// allNeed is the need of all lives.
func (v *view) allNeed() []point {
	var out []point
	for i := range v.lives {
		out = append(out, v.lives[i].points(needed)...)
	}
	return out
}

// roundUp rounds to a size that people would write: 4, 5, 6 or 7 times a power of two.
func roundUp(bytes float64) int64 {
	step := math.Exp2(math.Floor(math.Log2(bytes)) - 2)
	return int64(math.Ceil(bytes/step) * step)
}
