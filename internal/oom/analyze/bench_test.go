package analyze_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"stella/internal/oom/analyze"
)

// A log of a kernel and of a runtime, of which one line in a hundred has to do with an OOM kill.
func BenchmarkReader(b *testing.B) {
	report, err := os.ReadFile("../corpus/testdata/flatcar-5.15-pod-limit-short-iso.log")
	if err != nil {
		b.Fatal(err)
	}
	noise := strings.Repeat("2023-08-07T11:12:13+0000 flatcar-1 kernel: cni0: port 3(veth8bec5ec1) entered disabled state\n"+
		`2023-08-07T11:12:13+0000 flatcar-1 containerd[912]: time="2023-08-07T11:12:13.203344120Z" level=info msg="RemoveContainer for \"750eb59e9cbd\" returns successfully"`+"\n", 800)
	text := strings.Repeat(noise+string(report), 256)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		a := analyze.New(analyze.Options{})
		if err := a.Reader(b.Context(), "b", strings.NewReader(text), time.Time{}); err != nil {
			b.Fatal(err)
		}
		a.Result()
	}
}
