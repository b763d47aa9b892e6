// Package explain holds what stella says of memory that ran out against what happened: workloads are played for real in memory cgroups, sampled as the
// agent samples, and explained.
//
// Words: a scene is one workload, of which the cause is known because a script makes it. Its script says at each moment how much memory of which kind
// there is to be; test/explain/act does it. A life is from the start of the container's first process to its end; a scene can have several. The lab is
// what all scenes share: the sampler, the kernel log. A recording is what explain is asked with: samples, kills, starts and gauges of one scene, and its cause.
//
// Time is stretched: a second of the test is a minute of the recording, so that a quarter of an hour takes 15 seconds. Nothing else
// is: each byte was charged and each kill was the kernel's.
//
// Scenes are of two parts. By those of the development part the thresholds of internal/explain were chosen; those of the test part are for the
// figures alone. The recordings in testdata are of the development part.
//
// Hazard: how long the kernel takes for a kill or a reclaim is not stretched; 50 ms of it are 3 s in a recording.
package explain

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"stella/internal/explain"
)

const (
	mib = 1 << 20
	// stretch is how much longer a time is in a recording.
	stretch = 60
	// tick is how often a script is asked, and sampleEvery how often the sampler samples, in the test's time: 3 s and 3.6 s of the recording. They
	// differ so that a sample is not always taken at the same moment of a tick.
	tick        = 50 * time.Millisecond
	sampleEvery = 60 * time.Millisecond
)

var (
	bench  = flag.Bool("bench-explain", false, "play all scenes, and print what is found of them (root, minutes)")
	stages = flag.Int("stages", 32, "how many scenes are played at the same `time`")
	keep   = flag.String("keep", "", "write the recordings to this `directory`")
	replay = flag.String("replay", "", "take the recordings of this `directory`, and play none")
	only   = flag.String("part", "", "of -replay, the `part` alone: development or test")
	update = flag.Bool("update", false, "choose the recordings in testdata anew, of those of -replay")
)

// epoch is when all recordings begin.
var epoch = time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)

// part is development or test.
type part string

const (
	development part = "development"
	final       part = "test"
)

// partOf is the rule by which scenes are divided: odd variants are of the development part, even ones of the test part.
func partOf(variant int) part {
	if variant%2 == 1 {
		return development
	}
	return final
}

// seeds make the parameters of the parts differ in more than the variant.
var seeds = map[part]uint64{development: 0x5eed0001, final: 0x5eed7e57}

// newDraw is where the parameters of a scene come from: the same at each run.
func newDraw(cause explain.Cause, variant int) draw {
	id := uint64(variant)
	for _, c := range cause {
		id = id*131 + uint64(c)
	}
	return draw{rand.New(rand.NewPCG(seeds[partOf(variant)], id))}
}

// draw draws parameters.
type draw struct{ *rand.Rand }

func (d draw) between(least, most float64) float64 { return least + (most-least)*d.Float64() }

// minutes draws a time, and seconds too.
func (d draw) minutes(least, most float64) time.Duration {
	return time.Duration(d.between(least, most) * float64(time.Minute))
}

func (d draw) seconds(least, most float64) time.Duration { return d.minutes(least/60, most/60) }

func (d draw) chance(p float64) bool { return d.Float64() < p }

// among draws a whole number of that many, from 0.
func (d draw) among(n int) int { return d.IntN(n) }

// bin has the programs while the tests run.
var bin string

// build builds act, once: without the race detector, whose memory would be in the samples.
var build = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "stella/test/explain/act")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
})

func program(t testing.TB) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(bin, "act")
}
