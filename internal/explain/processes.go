package explain

import (
	"slices"

	"stella/internal/oom"
)

// seenProcess is a process that samples named.
type seenProcess struct {
	oom.Process
	most float64 // resident, in bytes
	n    int     // samples that named it
}

// processes are all that samples named, by their number.
func (v *view) processes() map[int]*seenProcess {
	all := map[int]*seenProcess{}
	for i := range v.lives {
		for j := range v.lives[i].samples {
			for _, p := range v.lives[i].samples[j].Top {
				if p.PID <= 0 || resident(p) >= maxBytes {
					continue
				}
				s := all[p.PID]
				if s == nil {
					s = &seenProcess{Process: p}
					all[p.PID] = s
				}
				s.most, s.n = max(s.most, resident(p)), s.n+1
			}
		}
	}
	return all
}

func resident(p oom.Process) float64 { return max(float64(p.Resident()), 0) }

// victims are how often each name was killed by the container's own limit, and the most frequent of them.
func (v *view) victims() (counts map[string]int64, comm string) {
	counts = map[string]int64{}
	for i := range v.own {
		counts[v.own[i].Process.Comm] += min(max(v.own[i].Count, 1), maxKills)
	}
	for _, k := range v.own { // in their order, so that of two with the same count it is always the same
		if c := k.Process.Comm; c != "" && (comm == "" || counts[c] > counts[comm]) {
			comm = c
		}
	}
	return counts, comm
}

// siblings are what the processes of that name needed at most that were not killed, in order.
func (v *view) siblings(all map[int]*seenProcess, comm string) []float64 {
	dead := map[int]bool{}
	for i := range v.own {
		dead[v.own[i].Process.PID] = true
	}
	var out []float64
	for pid, p := range all {
		if p.Comm == comm && !dead[pid] {
			out = append(out, p.most)
		}
	}
	slices.Sort(out)
	return out
}
