//go:build !race

package sbom

// raceEnabled makes the big tests smaller under the race detector, which is ten times slower.
const raceEnabled = false
