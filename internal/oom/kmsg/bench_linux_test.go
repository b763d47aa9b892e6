package kmsg_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/kmsg"
)

// aReport writes a whole report of 6.1, in the form of dmesg.
func aReport(b *bytes.Buffer, second, pid int) {
	stamp := func(text string, args ...any) {
		fmt.Fprintf(b, "[%8d.%06d] %s\n", second, b.Len()%1000000, fmt.Sprintf(text, args...))
	}
	stamp("java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=984")
	stamp("CPU: 3 PID: %d Comm: java Not tainted 6.1.0-18-amd64 #1 Debian 6.1.76-1", pid)
	stamp("memory: usage 524288kB, limit 524288kB, failcnt 1234")
	stamp("swap: usage 0kB, limit 0kB, failcnt 0")
	stamp("Memory cgroup stats for /kubepods/pod1/c1:")
	stamp("anon 530000000\nfile 4096\nkernel 1000000\nshmem 4096")
	stamp("Tasks state (memory values in pages):")
	stamp("[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name")
	for i := range 10 {
		stamp("[%7d]     0 %5d   900110   %6d  2097152        0           984 java", pid+i, pid+i, 120000-i)
	}
	stamp("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/c1,task=java,pid=%d,uid=0", pid)
	stamp("Memory cgroup out of memory: Killed process %d (java) total-vm:3600440kB, anon-rss:478012kB, file-rss:2076kB, shmem-rss:0kB, UID:0 pgtables:2048kB oom_score_adj:984", pid)
}

// noise is what kernels write when nothing happens.
var noise = []string{
	"cni0: port 3(veth8bec5ec1) entered disabled state",
	"veth331381c7 (unregistering): left allmulticast mode",
	"EXT4-fs (sda1): mounted filesystem 5f3c1c1e-33aa-4f5e-9d3e-0b8a7b6c5d4e with ordered data mode. Quota mode: none.",
	"audit: type=1400 audit(1710494561.553:88): apparmor=\"DENIED\" operation=\"open\" profile=\"snap.x\" name=\"/proc/1/environ\" pid=8212 comm=\"x\" requested_mask=\"r\"",
	"IPv6: ADDRCONF(NETDEV_CHANGE): eth0: link becomes ready",
	"nfs: server 10.0.0.7 not responding, still trying",
	"usb 1-1: new high-speed USB device number 4 using xhci_hcd",
	"TCP: request_sock_TCP: Possible SYN flooding on port 443. Sending cookies.  Check SNMP counters.",
	" ? srso_return_thunk+0x5/0x5f",
	" handle_mm_fault+0xd0/0x310",
}

// aLog is a kernel log of at least size bytes in dmesg's form, of which one part in a hundred is of OOM kills, and how many.
func aLog(size int) ([]byte, int) {
	var b bytes.Buffer
	b.WriteString("[    0.000000] Linux version 6.1.0-18-amd64\n")
	kills := 0
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "[%8d.%06d] %s\n", i/1000, i%1000*1000, noise[i%len(noise)])
		if i%2600 == 0 {
			aReport(&b, i/1000, 1000+kills)
			kills++
		}
	}
	return b.Bytes(), kills
}

// again reads the same bytes n times.
type again struct {
	text []byte
	n    int
	r    bytes.Reader
}

func (a *again) Read(p []byte) (int, error) {
	for a.r.Len() == 0 {
		if a.n == 0 {
			return 0, io.EOF
		}
		a.n--
		a.r.Reset(a.text)
	}
	return a.r.Read(p)
}

// BenchmarkFiles reads a kernel log of 1 GiB.
func BenchmarkFiles(b *testing.B) {
	text, kills := aLog(1 << 20)
	for _, o := range []struct {
		name    string
		options kmsg.FileOptions
	}{
		{"kernel", kmsg.FileOptions{}},
		{"and others", kmsg.FileOptions{Other: func(kmsg.Line) {}, OtherWords: []string{"TaskOOM", "SystemOOM", "OOM", "oom", " due to memory "}}},
		{"all lines", kmsg.FileOptions{Other: func(kmsg.Line) {}}},
	} {
		b.Run(o.name, func(b *testing.B) {
			const times = 1024
			b.SetBytes(int64(len(text) * times))
			b.ReportAllocs()
			begin := processorTime(b)
			for b.Loop() {
				found := 0
				_, err := kmsg.Files(b.Context(), &again{text: text, n: times}, o.options, func(oom.Report) error { found++; return nil })
				if err != nil || found != kills*times {
					b.Fatalf("%d kills, want %d: %v", found, kills*times, err)
				}
			}
			used := processorTime(b) - begin
			b.ReportMetric(float64(len(text)*times*b.N)/1e6/used.Seconds(), "MB/core-second")
			b.ReportMetric(float64(resident(b))/(1<<20), "MiB-RSS")
		})
	}
}

// processorTime is what this process used of the processors: others use them too.
func processorTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resident(tb testing.TB) int64 {
	var total, pages int64
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Fatal(err)
	}
	fmt.Sscan(string(text), &total, &pages)
	return pages * int64(os.Getpagesize())
}
