package chaos

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// diskSize is that of the machine's disk, in bytes.
const diskSize = 64 << 20

// The log of a disk's writes, as the kernel's dm-log-writes and QEMU's blklogwrites make
// it: a superblock of a sector, then entries, each a sector with a header, little-endian,
// and the sectors that were written. (Documentation/admin-guide/device-mapper/log-writes.rst)
const (
	sector      = 512
	headerSize  = 32
	magic       = 0x6a736677736872
	flagFlush   = 1 << 0
	flagFUA     = 1 << 1 // the write does not stay in the cache
	flagDiscard = 1 << 2
	// maxWrite bounds one entry in bytes: QEMU's own bound for a request is 2 GiB, and the guest's is 1 MiB or so.
	maxWrite = 64 << 20
)

// diskWrite is one entry of the log.
type diskWrite struct {
	at    int64 // on the disk, in bytes
	data  int64 // in the log
	size  int64
	flags uint64
	end   int64 // of the entry, in the log
}

// readLog reads the entries of a log, up to the first that is not whole: its writer was killed.
func readLog(f io.ReaderAt, size int64) ([]diskWrite, error) {
	var head [headerSize]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	if m := binary.LittleEndian.Uint64(head[:]); m != magic {
		return nil, fmt.Errorf("%x is not how a log of writes begins", m)
	}
	if n := binary.LittleEndian.Uint32(head[24:]); n != sector {
		return nil, fmt.Errorf("sectors have %d bytes; want %d", n, sector)
	}
	var all []diskWrite
	for at := int64(sector); at+sector <= size; {
		if _, err := f.ReadAt(head[:], at); err != nil {
			return nil, err
		}
		field := func(n int) uint64 { return binary.LittleEndian.Uint64(head[8*n:]) }
		if field(0) > diskSize/sector || field(1) > maxWrite/sector {
			return nil, fmt.Errorf("the entry at %d has %d sectors for sector %d", at, field(1), field(0))
		}
		w := diskWrite{at: int64(field(0)) * sector, size: int64(field(1)) * sector, data: at + sector, flags: field(2)}
		w.end = w.data + w.size
		if w.flags&flagDiscard != 0 { // what was there may stay
			w.end, w.size = w.data, 0
		}
		if w.end > size {
			break
		}
		all = append(all, w)
		at = w.end
	}
	return all, nil
}

// afterPowerCut is what a disk has on it whose power is cut when so many entries were
// written: everything before the last flush, and what chance wants of the rest, which was in
// the disk's cache.
func afterPowerCut(before []byte, f io.ReaderAt, written []diskWrite, random *rand.Rand) ([]byte, error) {
	flushed := 0
	for i, w := range written {
		if w.flags&flagFlush != 0 {
			flushed = i
		}
	}
	disk := bytes.Clone(before)
	for i, w := range written {
		if i > flushed && w.flags&flagFUA == 0 && random.IntN(2) == 0 {
			continue
		}
		if w.at+w.size > int64(len(disk)) {
			return nil, fmt.Errorf("%d bytes were written at %d", w.size, w.at)
		}
		if _, err := f.ReadAt(disk[w.at:w.at+w.size], w.data); err != nil {
			return nil, err
		}
	}
	return disk, nil
}

// newDisk makes a disk with an empty file system.
func newDisk(t *testing.T, path string) []byte {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, diskSize); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.ext4", "-q", "-F", path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// extract replays the journal of a disk's file system, as mounting would do, and copies its files to dir.
func extract(t *testing.T, disk []byte, dir string) {
	t.Helper()
	path := filepath.Join(dir, "disk")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "e2fsck", "-p", path)
	tool(t, "e2fsck", "-f", "-n", path) // the journal was enough
	tool(t, "debugfs", "-R", "rdump /data "+dir, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// tool runs a program of Debian's package e2fsprogs.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
