package outlog_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

// What makes the test binary another process: one that writes a log in that directory, until it is killed, and one that
// writes a hundred logs at full speed.
const (
	writeEnv = "STELLA_OUTLOG_TEST_WRITE"
	speedEnv = "STELLA_OUTLOG_TEST_SPEED"
)

func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(writeEnv) != "":
		err = writeFor(os.Getenv(writeEnv))
	case os.Getenv(speedEnv) != "":
		err = fullSpeed(os.Getenv(speedEnv))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// killedLine is the line with the number n.
func killedLine(n uint64) string { return fmt.Sprintf("%d %s", n, strings.Repeat("z", int(n*7%500))) }

// writeFor writes lines, and says of each that a reader was told how many there are.
func writeFor(dir string) error {
	s, err := outlog.Open(dir, outlog.Options{})
	if err != nil {
		return err
	}
	l, err := s.Create("c", outlog.Limits{Bytes: outlog.MinBytes})
	if err != nil {
		return err
	}
	go func() {
		for n := uint64(1); ; n++ {
			io := l.Writer([...]rdev.Stream{rdev.Stdout, rdev.Stderr}[n%2])
			fmt.Fprintln(io, killedLine(n))
		}
	}()
	buf := make([]byte, outlog.MinBuffer)
	for at := uint64(0); ; {
		<-l.More(at)
		pos, err := l.Read(at, buf, func(outlog.Record) bool { return true })
		if err != nil {
			return err
		}
		at = pos.Next
		if _, err := fmt.Println(at); err != nil {
			return err
		}
	}
}

// A process that writes is killed at any moment: what a reader was told is there, with all before it that was kept.
func TestKilledWhileItWrites(t *testing.T) {
	for round := range 6 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), writeEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		said := uint64(0)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if _, err := fmt.Sscan(lines.Text(), &said); err != nil {
				t.Error(err)
			}
			if n == round*5 {
				if err := cmd.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		if cmd.Wait() == nil {
			t.Fatal("it was not killed")
		}
		s := openIn(t, dir, outlog.Options{})
		l, err := s.Log("c")
		if err != nil {
			t.Fatal(err)
		}
		before := checkKilled(t, l, said)
		if err := l.End(rdev.End{Reason: rdev.ReasonLost}); err != nil {
			t.Fatal(err)
		}
		if l, err = s.Log("c"); err != nil {
			t.Fatal(err)
		}
		after := checkKilled(t, l, said)
		if after.Ended.IsZero() || after.Output != before.Output {
			t.Errorf("%+v, and with its end %+v", before, after)
		}
		t.Logf("%d records were told, %+v", said, after)
	}
}

func checkKilled(t *testing.T, l *outlog.Log, said uint64) outlog.State {
	t.Helper()
	state := l.State()
	if state.Last < said {
		t.Fatalf("a reader was told %d records, of which %d are there", said, state.Last)
	}
	kept := int64(0)
	for _, p := range read(t, l, 0, outlog.MinBuffer, true) {
		for _, r := range p.records {
			kept++
			if string(r.Data) != killedLine(r.Seq) || r.End != "\n" {
				t.Fatalf("record %d is %.50q", r.Seq, r.Data)
			}
		}
	}
	if kept+state.Dropped != int64(state.Last) || state.Lines != int64(state.Last) {
		t.Errorf("%d records are kept; %+v", kept, state)
	}
	return state
}

// Whatever is damaged in a file, what is read is what was written.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, outlog.Options{})
	l := create(t, s, "c", outlog.Limits{Bytes: outlog.MinBytes})
	for n := range uint64(20_000) {
		fmt.Fprintln(l.Writer(rdev.Stdout), killedLine(n+1))
	}
	end(t, l)
	whole, err := os.ReadFile(filepath.Join(dir, "c.log"))
	if err != nil {
		t.Fatal(err)
	}
	read, damaged := 0, 0
	for round := range 100 {
		r := rand.New(rand.NewPCG(uint64(round), 2))
		data := bytes.Clone(whole)
		for range 1 + r.IntN(20) {
			at := r.IntN(len(data))
			if round%2 == 0 { // a page that was not written
				clear(data[at&^4095 : min(at&^4095+4096, len(data))])
			} else {
				data[at] ^= 1 << r.IntN(8)
			}
		}
		id := fmt.Sprintf("c%d", round)
		if err := os.WriteFile(filepath.Join(dir, id+".log"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := s.Log(id)
		if err != nil {
			damaged++ // its first page is
			continue
		}
		n := 0
		pos := outlog.Position{}
		for buf := make([]byte, outlog.MinBuffer); n == 0 || pos.Next < pos.Last; n++ {
			pos, err = l.Read(pos.Next, buf, func(r outlog.Record) bool {
				if string(r.Data) != killedLine(r.Seq) {
					t.Fatalf("round %d: record %d is %.50q", round, r.Seq, r.Data)
				}
				read++
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if read < 100_000 || damaged > 50 {
		t.Errorf("%d records are read of 100 logs, %d cannot be opened", read, damaged)
	}
}
