package worker

import (
	"testing"

	"stella/bench/ociwrite"
	"stella/internal/scanner"
	"stella/internal/testkit"
)

// BenchmarkStart is how long a worker takes to be ready, and to be gone.
func BenchmarkStart(b *testing.B) {
	testkit.Need(b, testkit.MemoryCgroup)
	cfg, _ := config("serve", realLimit)
	for b.Loop() {
		p, err := Start(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkTask is what a scan costs whose layers are in the cache: the overhead of a job.
func BenchmarkTask(b *testing.B) {
	testkit.Need(b, testkit.MemoryCgroup)
	cfg, _ := config("serve", realLimit)
	p, err := Start(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	in := task(b, layout(b, ociwrite.Gzip, npm))
	in.CacheDir, in.CacheSize = b.TempDir(), 1<<30
	for b.Loop() {
		if r := p.Run(b.Context(), in, func(scanner.Progress) {}); r.Outcome != scanner.OutcomeSucceeded {
			b.Fatalf("%+v", r)
		}
	}
}
