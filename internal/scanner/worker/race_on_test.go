//go:build race

package worker

const (
	// realLimit is what a worker needs that is this test binary, with the race detector.
	realLimit = 256 << 20
	// raceDetector has an allocator that ends in other words when there is no memory.
	raceDetector = true
)
