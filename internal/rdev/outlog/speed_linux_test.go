package outlog_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/bytesize"
	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

var full = flag.Bool("full", false, "let a hundred commands print 10 GiB instead of 200 MiB")

const (
	speedLogs  = 100
	speedLine  = 100 // bytes
	speedChunk = 320 // lines in a write: what os/exec copies at once, about
)

// fill makes a chunk of the lines from n on.
func fill(chunk []byte, n int) {
	for i := range speedChunk {
		line := chunk[i*speedLine : (i+1)*speedLine]
		m := copy(line, fmt.Sprintf("%d ", n+i))
		for j := m; j < speedLine; j++ {
			line[j] = 'x'
		}
		line[speedLine-1] = '\n'
	}
}

// One hundred commands print at full speed, each with a subscriber who follows: memory stays flat, the disk within the
// cap, and head and tail of each are right.
func TestHundredAtFullSpeed(t *testing.T) {
	perLog := 2 << 20
	if *full {
		perLog = 100 << 20
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s:%d", speedEnv, t.TempDir(), perLog))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Log(strings.TrimSpace(string(out)))
	var peak int64
	if _, err := fmt.Sscanf(string(out), "peak RSS %d", &peak); err != nil {
		t.Fatal(err)
	}
	if most := int64(128 << 20); peak > most && !raceEnabled {
		t.Errorf("%d bytes of RSS; want at most %d", peak, most)
	}
}

// fullSpeed does it, in a process that nothing else is measured with.
func fullSpeed(how string) error {
	dir, amount, _ := strings.Cut(how, ":")
	var perLog int
	if _, err := fmt.Sscan(amount, &perLog); err != nil {
		return err
	}
	limits := outlog.Limits{Bytes: min(outlog.DefaultBytes, int64(perLog/2))}
	limit := limits.Bytes * speedLogs
	s, err := outlog.Open(dir, outlog.Options{MaxBytes: limit})
	if err != nil {
		return err
	}
	start := time.Now()
	var group sync.WaitGroup
	errs := make([]error, 2*speedLogs)
	logs := make([]*outlog.Log, speedLogs)
	for i := range logs {
		if logs[i], err = s.Create(fmt.Sprintf("c%d", i), limits); err != nil {
			return err
		}
		group.Go(func() { errs[i] = printLines(logs[i], perLog) })
		group.Go(func() { errs[speedLogs+i] = follow(logs[i], nil) })
	}
	group.Wait()
	took := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if got := s.Stats(); got.Bytes > limit || got.LostRecords != 0 {
		return fmt.Errorf("%+v", got)
	}
	for i := range logs {
		l, err := s.Log(fmt.Sprintf("c%d", i))
		if err == nil {
			err = headAndTail(l, limits.Bytes)
		}
		if err != nil {
			return err
		}
	}
	peak, err := peakRSS()
	if err != nil {
		return err
	}
	disk, err := diskUsage(dir)
	if err != nil {
		return err
	}
	if disk > limit {
		return fmt.Errorf("%d bytes on the disk; the cap is %d", disk, limit)
	}
	fmt.Printf("peak RSS %d (%v), %v printed in %v, %v on the disk of %v\n", peak, bytesize.Size(peak),
		bytesize.Size(perLog*speedLogs), took.Round(time.Millisecond), bytesize.Size(disk), bytesize.Size(limit))
	return nil
}

func printLines(l *outlog.Log, amount int) error {
	chunk := make([]byte, speedChunk*speedLine)
	w := l.Writer(rdev.Stdout)
	for n := 0; n*speedLine < amount; n += speedChunk {
		fill(chunk, n)
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return l.End(rdev.End{Reason: rdev.ReasonExit})
}

// follow reads as a subscriber does, and checks each line against its number.
func follow(l *outlog.Log, told func(uint64)) error {
	buf := make([]byte, outlog.MinBuffer)
	var wrong error
	for at := (outlog.Position{}); at.End == nil; {
		<-l.More(at.Next)
		for again := true; again; again = at.Next < at.Last {
			var err error
			at, err = l.Read(at.Next, buf, func(r outlog.Record) bool {
				n := 0
				for _, b := range r.Data {
					if b < '0' || b > '9' {
						break
					}
					n = 10*n + int(b-'0')
				}
				if uint64(n+1) != r.Seq || len(r.Data) != speedLine-1 {
					wrong = fmt.Errorf("record %d is %q", r.Seq, r.Data)
				}
				if told != nil {
					told(r.Seq)
				}
				return true
			})
			if err = errors.Join(err, wrong); err != nil {
				return err
			}
		}
	}
	return nil
}

// headAndTail checks that one gap is in the middle, and not too large.
func headAndTail(l *outlog.Log, limit int64) error {
	var first, last, kept, gaps uint64
	err := follow(l, func(seq uint64) {
		if kept == 0 {
			first = seq
		} else if seq != last+1 {
			gaps++
		}
		last = seq
		kept++
	})
	if err != nil {
		return err
	}
	state := l.State()
	if first != 1 || last != state.Last || gaps != 1 || int64(kept)+state.Dropped != int64(last) || int64(kept)*speedLine < limit*2/3 {
		return fmt.Errorf("%d records with %d gaps, from %d to %d; %+v", kept, gaps, first, last, state)
	}
	return nil
}

func diskUsage(dir string) (size int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}

// peakRSS is the most memory this process has had.
func peakRSS() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err
}
