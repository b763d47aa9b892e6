package explain_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// memory is what a program has at one moment, in shares of its limit.
type memory struct {
	anon, file, shmem, kernel, sock float64
	pids                            int64
	cores                           float64
	top                             []oom.Process
}

// program makes the input of one container.
type program struct {
	*rand.Rand
	in    explain.Input
	now   time.Time
	step  time.Duration
	limit float64
	noise float64 // share of the limit
	tooth float64 // height of the teeth of its garbage collector, in shares of the limit
	every float64 // seconds from tooth to tooth
	cpu   time.Duration
	pid   int
}

// newProgram has a limit, a step, noise and teeth that differ with the seed.
func newProgram(seed uint64) *program {
	r := rand.New(rand.NewPCG(seed, 7))
	p := &program{Rand: r, now: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), pid: 100}
	p.limit = math.Exp2(26 + 6*r.Float64()) // 64 MiB to 4 GiB
	p.step = time.Duration(1+r.IntN(5)) * time.Second
	p.noise = 0.002 + 0.02*r.Float64()
	if r.IntN(2) == 0 {
		p.tooth, p.every = 0.05+0.15*r.Float64(), 20+100*r.Float64()
	}
	p.in.Container = oom.Container{ID: "c", Name: "app", LimitBytes: int64(p.limit)}
	p.start()
	return p
}

func (p *program) start() {
	p.in.Starts = append(p.in.Starts, p.now)
	p.pid++
	p.cpu = 0
}

// length is a time in seconds with some samples in it.
func (p *program) length() float64 { return p.step.Seconds() * (120 + 480*p.Float64()) }

// run takes samples for some seconds, of what at tells of each age.
func (p *program) run(seconds float64, at func(age float64) memory) {
	for age := 0.0; age < seconds; age += p.step.Seconds() {
		p.now = p.now.Add(p.step)
		m := at(age)
		m.anon += p.noise*p.NormFloat64() + p.teeth()
		p.sample(&m)
	}
}

func (p *program) teeth() float64 {
	if p.tooth == 0 {
		return 0
	}
	return p.tooth * math.Mod(float64(p.now.Unix()), p.every) / p.every
}

func (p *program) sample(m *memory) {
	bytes := func(share float64) int64 { return int64(max(share, 0) * p.limit) }
	if m.cores == 0 {
		m.cores = 0.5 + 0.05*p.NormFloat64()
	}
	p.cpu += time.Duration(max(m.cores, 0) * float64(p.step))
	s := oom.Sample{
		Time: p.now, Anon: bytes(m.anon), File: bytes(m.file), Shmem: bytes(m.shmem), Kernel: bytes(m.kernel), Sock: bytes(m.sock),
		Limit: int64(p.limit), PIDs: max(m.pids, 1), CPU: p.cpu, PressureSome: -1, PressureFull: -1, Top: m.top,
	}
	if s.Top == nil {
		s.Top = []oom.Process{{PID: p.pid, Comm: "app", Anon: s.Anon}}
	}
	s.Usage = min(s.Anon+s.File+s.Shmem+s.Kernel+s.Sock, s.Limit)
	s.WorkingSet = s.Usage - s.File/2
	p.in.Samples = append(p.in.Samples, s)
}

// kill kills by the container's own limit, within a step of the last sample.
func (p *program) kill(change func(*oom.Kill)) {
	p.now = p.now.Add(time.Duration(p.Float64() * float64(p.step)))
	last := p.in.Samples[len(p.in.Samples)-1]
	limit := int64(p.limit)
	k := oom.Kill{
		ID: fmt.Sprintf("k%d", len(p.in.Kills)), Time: p.now, Count: 1, Confidence: oom.Certain,
		Process: oom.Process{PID: p.pid, Comm: "app"}, Limit: oom.Limit{Scope: oom.ScopeContainer, Bytes: limit, Usage: limit},
		Memory: oom.Memory{File: last.File / 8, Shmem: last.Shmem, Kernel: last.Kernel, Sock: last.Sock},
	}
	k.Memory.Anon = max(limit-k.Memory.File-k.Memory.Shmem-k.Memory.Kernel-k.Memory.Sock, 0)
	k.Process.Anon = k.Memory.Anon
	survived := false
	k.MainSurvived = &survived
	k.Tasks = []oom.Process{k.Process}
	if change != nil {
		change(&k)
	}
	p.in.Kills = append(p.in.Kills, k)
}

// restart kills and starts anew.
func (p *program) restart() {
	p.kill(nil)
	p.now = p.now.Add(2 * time.Second)
	p.start()
}

// done is the input.
func (p *program) done() explain.Input {
	p.in.Now = p.now.Add(time.Second)
	return p.in
}

// steady needs a share of the limit.
func steady(level float64) func(float64) memory {
	return func(age float64) memory { return memory{anon: level * min(1, (age+1)/4), file: 0.05, kernel: 0.01} }
}

// between is a number from a to b.
func (p *program) between(a, b float64) float64 { return a + (b-a)*p.Float64() }
