package queue_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/testkit"
)

// loopDevice is that a file can be mounted as a disk.
var loopDevice = testkit.Capability{Name: "loop-device", How: "run as root, with /dev/loop-control and mkfs.ext4 (Debian package e2fsprogs)", Probe: func() error {
	if os.Geteuid() != 0 {
		return testkit.Missing("only root may mount")
	}
	if _, err := os.Stat("/dev/loop-control"); errors.Is(err, fs.ErrNotExist) {
		return testkit.Missing("there is no /dev/loop-control")
	} else if err != nil {
		return err
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return testkit.Missing(err.Error())
	}
	return nil
}}

// diskSize is small, because each power cut copies it.
const diskSize = 48 << 20

// The power fails in the middle of everything. What the machine had in memory is gone: the page
// cache of the file system that the database is on. What it had sent to the disk is
// there: the file behind the loop device, copied at that moment. Everything that was
// acknowledged is in it, and the database is whole.
func TestPowerLoss(t *testing.T) {
	testkit.Need(t, loopDevice)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir()
	image := filepath.Join(dir, "disk")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", "-F", image)
	submitted, finished := map[int64]bool{}, map[attemptID]bool{}
	for n := range rounds {
		next := filepath.Join(dir, fmt.Sprintf("disk-%d", n))
		cutPower(t, image, next, submitted, finished)
		os.Remove(image)
		image = next
		checkDisk(t, image, submitted, finished)
	}
	t.Logf("%d power cuts, %d jobs and %d ends were acknowledged, and none is lost", rounds, len(submitted), len(finished))
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// mounted mounts an image, lets f work on it, and unmounts it.
func mounted(t *testing.T, image string, f func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	command(t, "mount", "-o", "loop", image, dir)
	defer command(t, "umount", dir)
	f(dir)
}

// cutPower runs a child on a disk, and keeps as next what the disk has at a random moment.
func cutPower(t *testing.T, image, next string, submitted map[int64]bool, finished map[attemptID]bool) {
	t.Helper()
	mounted(t, image, func(dir string) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
		cmd.Env = append(os.Environ(), childEnv+"=sqlite:"+filepath.Join(dir, "queue.db"))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var failure bytes.Buffer
		cmd.Stderr = &failure
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for begun := false; lines.Scan(); begun = true {
			if !begun {
				time.AfterFunc(time.Duration(50+rand.IntN(200))*time.Millisecond, func() {
					// Stopped, it acknowledges nothing that the copy cannot have.
					stop(t, cmd.Process.Pid)
					if err := copyFile(image, next); err != nil {
						t.Error(err)
					}
					cmd.Process.Kill()
				})
			}
			var id attemptID
			if n, _ := fmt.Sscanf(lines.Text(), "F %d %d", &id.job, &id.number); n == 2 {
				finished[id] = true
			} else if n, _ := fmt.Sscanf(lines.Text(), "S %d", &id.job); n == 1 {
				submitted[id.job] = true
			}
		}
		cmd.Process.Kill()
		if err := cmd.Wait(); err == nil || failure.Len() > 0 {
			t.Fatalf("the child ended by itself: %v\n%s", err, &failure)
		}
	})
}

// stop stops a process and returns when it stands still.
func stop(t *testing.T, pid int) {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Error(err)
		return
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || strings.Contains(string(text), "State:\tT") {
			return
		}
	}
	t.Error("the child did not stop")
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// checkDisk looks for what was acknowledged on a disk after a power cut.
func checkDisk(t *testing.T, image string, submitted map[int64]bool, finished map[attemptID]bool) {
	t.Helper()
	mounted(t, image, func(dir string) {
		db, err := sql.Open("sqlite", filepath.Join(dir, "queue.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		var verdict string
		if err := db.QueryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
			t.Fatalf("integrity check: %s, %v", verdict, err)
		}
		jobs, ends := map[int64]bool{}, map[attemptID]bool{}
		rows, err := db.Query(`SELECT j.id, coalesce(a.number, 0), coalesce(a.outcome, '') FROM jobs j LEFT JOIN attempts a ON a.job = j.id`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var id attemptID
			var outcome string
			if err := rows.Scan(&id.job, &id.number, &outcome); err != nil {
				t.Fatal(err)
			}
			jobs[id.job] = true
			ends[id] = ends[id] || outcome == "succeeded"
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		for id := range submitted {
			if !jobs[id] {
				t.Errorf("job %d was acknowledged, and is lost", id)
			}
		}
		for id := range finished {
			if !ends[id] {
				t.Errorf("the end of attempt %d of job %d was acknowledged, and is lost", id.number, id.job)
			}
		}
	})
}
