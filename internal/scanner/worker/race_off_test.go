//go:build !race

package worker

const (
	// realLimit is the least limit of a pool; see scanner.MinWorkerMemory.
	realLimit    = 48 << 20
	raceDetector = false
)
