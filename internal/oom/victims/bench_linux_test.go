package victims_test

import (
	"os/signal"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkSignal sends this process a signal that it ignores, with and without the programs in the kernel.
func BenchmarkSignal(b *testing.B) {
	signal.Ignore(unix.SIGWINCH)
	defer signal.Reset(unix.SIGWINCH)
	self := unix.Getpid()
	send := func(b *testing.B) {
		for b.Loop() {
			if err := unix.Kill(self, unix.SIGWINCH); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("without", send)
	open(b, bpffs(b))
	b.Run("with", send)
}
