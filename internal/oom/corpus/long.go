package corpus

import (
	"bufio"
	"fmt"
	"io"
)

// Noise are lines that kernels write when nothing happens.
var Noise = []string{
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

// reportEvery is after how many lines of noise a report comes: one part in a hundred is of OOM kills.
const reportEvery = 2600

// Long writes a kernel log of at least size bytes in dmesg's form, a line every millisecond, to measure readers with, and returns how
// many kills are in it. Of those nothing else is to be learned: they are all alike.
func Long(to io.Writer, size int64) (kills int, err error) {
	w := bufio.NewWriterSize(to, 64<<10)
	l := &long{w: w}
	l.add("Linux version 6.1.0-18-amd64")
	for i := 0; l.size < size; i++ {
		l.add("%s", Noise[i%len(Noise)])
		if i%reportEvery == 0 {
			l.report(1000 + kills)
			kills++
		}
	}
	return kills, w.Flush()
}

// long is such a log. What goes wrong with w, Flush tells.
type long struct {
	w     *bufio.Writer
	lines int
	size  int64
}

func (l *long) add(text string, args ...any) {
	n, _ := fmt.Fprintf(l.w, "[%8d.%06d] ", l.lines/1000, l.lines%1000*1000)
	m, _ := fmt.Fprintf(l.w, text+"\n", args...)
	l.lines++
	l.size += int64(n + m)
}

// report writes a whole report of 6.1.
func (l *long) report(pid int) {
	l.add("java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=984")
	l.add("CPU: 3 PID: %d Comm: java Not tainted 6.1.0-18-amd64 #1 Debian 6.1.76-1", pid)
	l.add("memory: usage 524288kB, limit 524288kB, failcnt 1234")
	l.add("swap: usage 0kB, limit 0kB, failcnt 0")
	l.add("Memory cgroup stats for /kubepods/pod1/c1:")
	l.add("anon 530000000\nfile 4096\nkernel 1000000\nshmem 4096")
	l.add("Tasks state (memory values in pages):")
	l.add("[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name")
	for i := range 10 {
		l.add("[%7d]     0 %5d   900110   %6d  2097152        0           984 java", pid+i, pid+i, 120000-i)
	}
	l.add("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,oom_memcg=/kubepods/pod1,task_memcg=/kubepods/pod1/c1,task=java,pid=%d,uid=0", pid)
	l.add("Memory cgroup out of memory: Killed process %d (java) total-vm:3600440kB, anon-rss:478012kB, file-rss:2076kB, shmem-rss:0kB, UID:0 pgtables:2048kB oom_score_adj:984", pid)
}
