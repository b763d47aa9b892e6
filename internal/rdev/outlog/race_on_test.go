//go:build race

package outlog_test

// raceEnabled says that memory is not what it is without the race detector.
const raceEnabled = true
