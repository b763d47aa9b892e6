//go:build !race

package pressure_test

const memoryFactor = 1
