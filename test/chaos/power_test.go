package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"stella/internal/scanner"
	"stella/internal/testkit"
	"stella/test/vm/kernel"
)

// outage is how long a machine runs until its power is cut, and at how many other moments it could have been.
type outage struct {
	images  int
	lines   int // that the guest says before
	moments int
}

var (
	smallOutage = outage{images: 200, lines: 100, moments: 2}
	largeOutage = outage{images: 1000, lines: 600, moments: 40}
)

// debianKernel is that the machine's kernel is here, or can be had.
func debianKernel(t *testing.T) testkit.Capability {
	return testkit.Capability{Name: "debian-kernel", How: "run apt-get update", Probe: func() error {
		if _, err := kernel.Get(t.Context()); err != nil {
			return testkit.Missing(err.Error())
		}
		return nil
	}}
}

// told is what the guest has said, and how long the log of its disk was then: everything that
// made it true had been written before.
type told struct {
	what  string // submitted or succeeded
	job   int64
	about string
	log   int64
}

// The power of a machine is cut, which is a service with its disk, in the middle of everything. What is on the disk is
// everything that was flushed, and an arbitrary part of what was written since. It is
// given to another stellad: it knows everything that was acknowledged, and ends every job.
func TestPowerLoss(t *testing.T) {
	testkit.Need(t, testkit.Program("qemu-system-x86_64"), testkit.Program("mkfs.ext4"), debianKernel(t))
	o := smallOutage
	if *full {
		o = largeOutage
	}
	random := chance(t)
	images := makeImages(t, o.images)
	dir := t.TempDir()
	disk, log := filepath.Join(dir, "disk"), filepath.Join(dir, "log")
	before := newDisk(t, disk)
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	said := runUntilPowerCut(t, images, disk, log, o.lines+random.IntN(o.lines))

	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	writes, err := readLog(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the machine wrote %d times, %d MiB, and acknowledged %d times", len(writes), info.Size()>>20, len(said))
	first := 0 // before it, the service was being started for the first time
	for writes[first].end < said[0].log {
		first++
	}
	for n := range o.moments + 1 {
		moment := len(writes)
		switch {
		case n%4 == 1:
			moment = random.IntN(first)
		case n > 0:
			moment = random.IntN(len(writes))
		}
		content, err := afterPowerCut(before, f, writes[:moment], random)
		if err != nil {
			t.Fatal(err)
		}
		known := said[:0:0]
		for _, s := range said {
			if moment > 0 && s.log <= writes[moment-1].end {
				known = append(known, s)
			}
		}
		t.Run(strconv.Itoa(moment), func(t *testing.T) { checkDisk(t, content, images, known) })
	}
}

// runUntilPowerCut boots a machine with that disk, in which the service runs, and
// kills it when it has said so many lines. It returns what these were.
func runUntilPowerCut(t *testing.T, images []image, disk, log string, lines int) []told {
	t.Helper()
	bin, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "vm"), "-disk", disk, "-disk-log", log, "-file", filepath.Join(bin, "stella"), "-file", filepath.Join(bin, "stellad"),
		"-file", filepath.Dir(images[0].layout), filepath.Join(bin, "guest"), filepath.Join(bin, "stellad"), filepath.Dir(images[0].layout))
	cmd.Dir = t.TempDir()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var failure bytes.Buffer
	cmd.Stderr = &failure
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var said []told
	for s := bufio.NewScanner(out); s.Scan(); {
		info, err := os.Stat(log)
		if err != nil {
			t.Fatal(err)
		}
		x := told{log: info.Size()}
		if n, _ := fmt.Sscanf(s.Text(), "%s %d %s", &x.what, &x.job, &x.about); n != 3 || x.what != "submitted" && x.what != "succeeded" {
			continue // the service's own log
		}
		if said = append(said, x); len(said) < lines {
			continue
		}
		for _, qemu := range childrenOf(cmd.Process.Pid) {
			if killed, err := killChild(qemu, cmd.Process.Pid); !killed || err != nil {
				t.Fatalf("the machine was not killed: %v", err)
			}
		}
		break
	}
	if len(said) < lines {
		cmd.Wait()
		t.Fatalf("the machine ended by itself, after %d lines\n%s", len(said), &failure)
	}
	return said
}

// checkDisk lets a service go on with what a power cut has left.
func checkDisk(t *testing.T, disk []byte, images []image, known []told) {
	s := newStellad(t, "one")
	s.store = "sqlite:" + filepath.Join(s.dir, "data", "stella.db")
	extract(t, disk, s.dir)
	byRef := map[string]image{}
	for _, i := range images {
		byRef[i.ref] = i
	}
	orders := newOrders(t, nil)
	orders.end()
	inventories := map[int64]string{}
	for _, k := range known {
		if k.what == "submitted" {
			orders.acknowledged[k.job] = byRef[k.about]
		} else {
			inventories[k.job] = k.about
		}
	}
	if len(known) > 0 { // else there may be no database yet
		books := s.openBooks()
		books.checkSucceeded(inventories)
		if err := books.db.Close(); err != nil {
			t.Error(err)
		}
	}
	s.start()
	orders.wait(s.client)
	checkResults(t, s.client, images)
	s.end()
	s.openBooks().check(nil, orders.acknowledged)
	s.checkNothingIsLeft()
}

// checkSucceeded: what somebody has seen to have succeeded has done so, with the same result.
func (b *books) checkSucceeded(inventories map[int64]string) {
	b.Helper()
	for _, e := range b.jobs {
		if want, ok := inventories[e.id]; ok && (e.status != scanner.StatusSucceeded || e.inventory != want) {
			b.fault("its success was acknowledged", e)
		}
	}
}
