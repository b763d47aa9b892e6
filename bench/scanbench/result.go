package main

import (
	"cmp"
	"fmt"
	"slices"

	"stella/bench/images"
	"stella/bench/machine"
)

// Result is one row: the median of a tool's runs.
type Result struct {
	Tool  string `json:"tool"`
	Limit int64  `json:"memory_limit_bytes"`
	// Unmeasured says why there is no measurement.
	Unmeasured string `json:"unmeasured,omitempty"`
	// Median holds the median of every figure by itself.
	Median Run   `json:"median"`
	Runs   []Run `json:"runs"`
	// CPURatio and WallRatio are multiples of the floor; 0 where there is none.
	CPURatio  float64 `json:"cpu_ratio,omitempty"`
	WallRatio float64 `json:"wall_ratio,omitempty"`
	// Packages is what the last document lists; nil for tools that write none
	// and where it is not whole.
	Packages *Packages `json:"packages,omitempty"`
}

// Report is one measurement of all tools on one image.
type Report struct {
	Image   string          `json:"image"`
	Figures images.Figures  `json:"figures"`
	Machine machine.Machine `json:"machine"`
	Results []Result        `json:"results"`
}

// summarize fills Median. A run that was killed or failed makes the whole tool
// killed or failed: one in three is not reliable.
func (r *Result) summarize() {
	if len(r.Runs) == 0 {
		return
	}
	r.Median = Run{
		CPU:        median(r.Runs, func(x Run) float64 { return x.CPU }),
		Wall:       median(r.Runs, func(x Run) float64 { return x.Wall }),
		RSS:        median(r.Runs, func(x Run) int64 { return x.RSS }),
		CgroupPeak: median(r.Runs, func(x Run) int64 { return x.CgroupPeak }),
		TempDisk:   median(r.Runs, func(x Run) int64 { return x.TempDisk }),
	}
	bad := 0
	for _, x := range r.Runs {
		r.Median.OOMKilled = r.Median.OOMKilled || x.OOMKilled
		r.Median.CutShort = r.Median.CutShort || x.CutShort
		if x.Failure != "" {
			bad++
			r.Median.Failure = x.Failure
		}
	}
	if bad > 0 && len(r.Runs) > 1 {
		r.Median.Failure += fmt.Sprintf(" (%d of %d runs)", bad, len(r.Runs))
	}
}

// median is the middle value, or the lower of the two in the middle.
func median[T cmp.Ordered](runs []Run, figure func(Run) T) T {
	values := make([]T, len(runs))
	for i, r := range runs {
		values[i] = figure(r)
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

// compare fills the ratios to the first result that is a sound floor.
func (r *Report) compare() {
	i := slices.IndexFunc(r.Results, func(x Result) bool {
		return x.Tool == toolNames[0] && x.Unmeasured == "" && x.Median.Failure == ""
	})
	if i < 0 {
		return
	}
	floor := r.Results[i].Median
	for i := range r.Results {
		if x := &r.Results[i]; len(x.Runs) > 0 && floor.CPU > 0 && floor.Wall > 0 {
			x.CPURatio, x.WallRatio = x.Median.CPU/floor.CPU, x.Median.Wall/floor.Wall
		}
	}
}
