package explain_test

import (
	"math"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/oom"
)

// worlds make an input for each cause; the healthy ones are below.
var worlds = []struct {
	name  string
	cause explain.Cause
	make  func(p *program)
}{
	{"leak", explain.Leak, func(p *program) {
		base, n := p.between(0.1, 0.4), p.length()
		p.run(n, func(age float64) memory { return memory{anon: base + (0.95-p.tooth-base)*age/n, kernel: 0.01} })
		p.kill(nil)
	}},
	{"leak over restarts", explain.Leak, func(p *program) {
		base, n := p.between(0.1, 0.3), p.length()
		for range 3 {
			p.run(n, func(age float64) memory { return memory{anon: base + (0.95-p.tooth-base)*age/n, file: 0.05} })
			p.restart()
		}
		p.run(n/4, func(age float64) memory { return memory{anon: base + (0.95-p.tooth-base)*age/n} })
	}},
	{"leak not yet killed", explain.Leak, func(p *program) {
		base, n := p.between(0.1, 0.3), p.length()
		p.run(n, func(age float64) memory { return memory{anon: base + 0.35*age/n} })
	}},
	{"leak in a child", explain.Leak, func(p *program) {
		base, n := p.between(0.1, 0.3), p.length()
		for range 4 {
			p.pid++
			p.run(n, func(age float64) memory {
				grown := base + (0.95-p.tooth-base)*age/n
				return memory{anon: grown, pids: 2, top: []oom.Process{{PID: p.pid, Comm: "worker", Anon: int64(grown * p.limit)}, {PID: 1, Comm: "main", Anon: 1 << 20}}}
			})
			p.kill(func(k *oom.Kill) {
				alive := true
				k.MainSurvived, k.Process.Comm = &alive, "worker"
				k.Tasks = []oom.Process{k.Process, {PID: 1, Comm: "main", Anon: 1 << 20}}
			})
		}
	}},
	{"spike that stays", explain.Spike, func(p *program) {
		p.tooth, p.noise = 0, min(p.noise, 0.005)
		p.run(p.length(), steady(p.between(0.15, 0.5)))
		p.run(p.length()/4, steady(0.97))
	}},
	{"spike", explain.Spike, func(p *program) {
		p.tooth = min(p.tooth, 0.08)
		p.run(p.length(), steady(p.between(0.15, 0.6)))
		p.kill(nil)
	}},
	{"limit too low", explain.LimitTooLow, func(p *program) {
		p.tooth, p.noise = 0, 0.01
		p.run(p.length(), steady(p.between(0.9, 0.96)))
		p.kill(nil)
	}},
	{"start-up peak", explain.StartUp, func(p *program) {
		level, peak := p.between(0.2, 0.5), p.between(0.8, 0.95)
		p.tooth = min(p.tooth, 0.04)
		start := func(end float64) func(float64) memory {
			return func(age float64) memory {
				if age < end {
					return memory{anon: peak * age / end}
				}
				return memory{anon: level}
			}
		}
		end := 15 * p.step.Seconds()
		p.run(end, start(end))
		p.restart()
		p.run(end*10, start(end))
	}},
	{"children", explain.Children, func(p *program) {
		p.tooth = 0
		for range 6 {
			each := p.between(0.25, 0.45)
			p.run(20*p.step.Seconds(), func(age float64) memory {
				if int(age/p.step.Seconds())%6 < 3 {
					p.pid++
					return memory{anon: 0.06 + 2*each, pids: 9, top: []oom.Process{{PID: p.pid, Comm: "kubectl", Anon: int64(each * p.limit)}, {PID: 1, Comm: "bash", Anon: int64(0.05 * p.limit)}}}
				}
				return memory{anon: 0.06, pids: 1, top: []oom.Process{{PID: 1, Comm: "bash", Anon: int64(0.05 * p.limit)}}}
			})
			p.pid++
			p.kill(func(k *oom.Kill) {
				alive := true
				k.MainSurvived = &alive
				k.Process = oom.Process{PID: p.pid, Comm: "kubectl", Anon: int64(each * p.limit)}
				k.Tasks = []oom.Process{k.Process, k.Process, k.Process, {PID: 1, Comm: "bash", Anon: int64(0.05 * p.limit)}}
			})
		}
	}},
	{"page cache", explain.PageCache, func(p *program) {
		n := p.length()
		p.run(n, func(age float64) memory { return memory{anon: 0.15, file: min(0.8, 1.2*age/n)} })
		p.kill(func(k *oom.Kill) { k.Memory = oom.Memory{Anon: int64(0.2 * p.limit), File: int64(0.8 * p.limit)} })
	}},
	{"tmpfs", explain.Tmpfs, func(p *program) {
		n := p.length()
		p.run(n, func(age float64) memory { return memory{anon: 0.15, shmem: 0.75 * age / n} })
		p.kill(nil)
	}},
	{"kernel", explain.KernelUse, func(p *program) {
		n := p.length()
		p.run(n, func(age float64) memory { return memory{anon: 0.15, kernel: 0.75 * age / n} })
		p.kill(nil)
	}},
	{"sockets", explain.Sockets, func(p *program) {
		n := p.length()
		p.run(n, func(age float64) memory { return memory{anon: 0.15, kernel: 0.15 * age / n, sock: 0.6 * age / n} })
		p.kill(nil)
	}},
	{"large input", explain.LargeInput, func(p *program) {
		p.tooth, p.noise = 0, min(p.noise, 0.008)
		level, work := p.between(0.1, 0.2), p.between(0.15, 0.3)
		period := 30 * p.step.Seconds()
		p.run(8*period, func(age float64) memory {
			if math.Mod(age, period) > 0.7*period {
				return memory{anon: level + work}
			}
			return memory{anon: level}
		})
		p.run(10*p.step.Seconds(), steady(level))
		p.kill(nil)
	}},
	{"gauge", explain.Gauged, func(p *program) {
		base, n, connections := 0.15, p.length(), 0.0
		g := explain.Gauge{Name: "sse_connections_active"}
		p.run(n, func(age float64) memory {
			connections = max(0, connections+20*p.NormFloat64()+1000*p.step.Seconds()/n+10*math.Sin(age/n*20))
			g.Points = append(g.Points, explain.Point{Time: p.now, Value: connections})
			return memory{anon: base + 0.7*connections/1000}
		})
		p.in.Gauges = append(p.in.Gauges, g)
		p.kill(nil)
	}},
	{"gauge that grows evenly", explain.Gauged, func(p *program) {
		n := p.length()
		g := explain.Gauge{Name: "sse_connections_active"}
		p.run(n, func(age float64) memory {
			g.Points = append(g.Points, explain.Point{Time: p.now, Value: math.Floor(1000 * age / n)})
			return memory{anon: 0.15 + (0.8-p.tooth)*age/n}
		})
		p.in.Gauges = append(p.in.Gauges, g, explain.Gauge{Name: "requests_total", Points: g.Points})
		p.kill(nil)
	}},
	{"above limit", explain.AboveLimit, func(p *program) {
		p.run(p.length(), steady(0.3))
		p.kill(func(k *oom.Kill) {
			k.Limit.Scope, k.Process.Anon = oom.ScopePod, k.Process.Anon/5
			k.Tasks = []oom.Process{k.Process, {PID: 2, Comm: "other", Anon: 4 * k.Process.Anon}}
		})
	}},
	{"the pod's limit, which is the only container's", explain.LimitTooLow, func(p *program) {
		p.run(p.length(), steady(p.between(0.9, 0.97)-p.tooth))
		p.kill(func(k *oom.Kill) { k.Limit.Scope = oom.ScopePod })
	}},
	{"node full", explain.NodeFull, func(p *program) {
		p.run(p.length(), steady(0.3))
		p.kill(func(k *oom.Kill) { k.Limit = oom.Limit{Scope: oom.ScopeNode, Bytes: 16 << 30} })
		p.in.Neighbours = []explain.Neighbour{{Container: oom.Container{ID: "x", Namespace: "jobs", Workload: "Job/import"}, Request: 1 << 30, WorkingSet: 9 << 30, Growth: 7 << 30}}
	}},
	{"no OOM", explain.NoOOM, func(p *program) {
		for range 3 {
			p.run(p.length()/2, steady(p.between(0.2, 0.6)))
			p.now = p.now.Add(2 * time.Second)
			p.start()
		}
		p.run(p.length()/4, steady(0.3))
	}},
	{"healthy: steady", explain.Healthy, func(p *program) { p.run(p.length(), steady(p.between(0.2, 0.7))) }},
	{"healthy: warms up", explain.Healthy, func(p *program) {
		n := p.length()
		p.run(n, func(age float64) memory { return memory{anon: 0.1 + 0.5*(1-math.Exp(-age/n*8))} })
	}},
	{"healthy: long teeth", explain.Healthy, func(p *program) {
		n := p.length()
		p.tooth, p.every = p.between(0.2, 0.5), n/p.between(2, 4)
		p.run(n, steady(0.2))
	}},
	{"healthy: a daily load", explain.Healthy, func(p *program) {
		n := p.length()
		p.run(n, func(age float64) memory {
			load := 0.5 + 0.5*math.Sin(age/n*2-1) + 0.08*p.NormFloat64()
			return memory{anon: 0.2 + 0.35*load, cores: 0.2 + load}
		})
	}},
	{"healthy: cache", explain.Healthy, func(p *program) {
		n := p.length()
		p.run(n, func(age float64) memory { return memory{anon: 0.2, file: min(0.7, 2*age/n)} })
	}},
}

const variants = 40

func TestCauses(t *testing.T) {
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			wrong := 0
			for seed := range uint64(variants) {
				p := newProgram(seed)
				w.make(p)
				r := explain.Explain(p.done())
				if f := r.Findings[0]; f.Cause != w.cause {
					wrong++
					if wrong <= 3 {
						t.Logf("seed %d: %s", seed, text(r))
					}
				}
			}
			if wrong > variants/20 {
				t.Errorf("%d of %d are not found", wrong, variants)
			}
		})
	}
}
