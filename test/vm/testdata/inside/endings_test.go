package inside

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

// The tests here are run one at a time, each in a machine of its own: it ends in one of many ways.

func TestEndFail(t *testing.T) { t.Error("this test fails") }

func TestEndPanic(*testing.T) { panic("this test panics") }

// All output comes out, to the last byte, and as it is.
func TestEndExit7(*testing.T) {
	for i := range 20_000 {
		fmt.Printf("line %d\r\n\x04\x11\x13", i)
	}
	os.Exit(7)
}

func TestEndHang(*testing.T) {
	fmt.Println("hanging")
	time.Sleep(time.Hour)
}

// The machine's memory runs out, and the kernel takes the largest process.
func TestEndMemory(*testing.T) { allocate(2 << 30) }

func TestEndKernel(t *testing.T) { t.Fatal(os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)) }

// allocate touches every page of n bytes. The kernel refuses one block that is larger than its memory.
func allocate(n int) {
	const size = 1 << 20
	for ; n > 0; n -= size {
		block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		for i := 0; i < size; i += 4096 {
			block[i] = 1
		}
	}
}
