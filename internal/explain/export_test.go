package explain

// MaxSamples is how many samples are looked at.
const MaxSamples = maxSamples

// LookedAt is how many samples of an input are looked at.
func LookedAt(in Input) int { return look(in).samples }
