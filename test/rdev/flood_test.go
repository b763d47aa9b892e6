package rdev

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/internal/rdev"
)

var bench = flag.Bool("bench-rdev", false, "measure: 10 GB of output, and 200,000 requests")

// What a flood may cost.
const (
	mostMemory  = 128 << 20 // RSS of the service at any time
	mostOpening = 1 << 20   // what is allocated to open a log, and look at its end
)

// flooding is how many commands print at once.
const flooding = 100

// floodLine is the bytes of each line that they print, which is its number.
const floodLine = 100

// A hundred commands print at full speed, all at once: the service's memory stays flat, the disk within its cap, and of each the head and the tail
// are there, with a marker between them. To open any of the logs costs little.
func TestFlood(t *testing.T) {
	if !*bench {
		t.Parallel()
	}
	t.Run("nobody looks", func(t *testing.T) { flood(t, false) })
	t.Run("each is followed", func(t *testing.T) { flood(t, true) })
}

func flood(t *testing.T, followed bool) {
	lines, output := int64(20_000), int64(1<<20) // 200 MB in all
	if *bench {
		lines, output = 1_000_000, 16<<20 // 10 GB
	}
	total := flooding * output
	p := launch(t, t.TempDir(), "--running", fmt.Sprint(flooding), "--running-per-project", fmt.Sprint(flooding), "--running-per-key", fmt.Sprint(flooding),
		"--total-memory", "4Gi", "--output", fmt.Sprint(output), "--output-total", fmt.Sprint(total))
	disk := p.watchDisk()
	stop := func() (int, time.Duration) { return 0, 0 }
	if !followed { // else subscribers who lag and come back take this key's share of requests
		stop = p.answering()
	}
	start := time.Now()
	ids := make([]string, flooding)
	for i := range ids {
		// All of them wait until the last one runs.
		ids[i] = p.submit(rdev.Request{Memory: 16 << 20, Shell: fmt.Sprintf("echo >> up; until test -e go; do sleep 0.1; done; seq -f %%0%d.0f %d", floodLine-1, lines)}).ID
	}
	for p.lines("up") < flooding {
		time.Sleep(50 * time.Millisecond)
	}
	follow := make(chan error, flooding)
	if followed {
		for _, id := range ids {
			go func() { follow <- p.drain(id) }()
		}
	}
	began := time.Now()
	if err := os.WriteFile(p.path("web/go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var dropped int64
	for _, id := range ids {
		c := p.over(id)
		if c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 0 || c.Output.Lines != lines || c.Output.Bytes != lines*floodLine || c.Output.Dropped == 0 {
			t.Errorf("%+v, %+v", *c.End, c.Output)
		}
		dropped += c.Output.Dropped
	}
	took := time.Since(began)
	asked, longest := stop()
	most := disk()
	if most > total {
		t.Errorf("outputs took %d bytes of the disk; %d are allowed", most, total)
	}
	peak := p.status("VmHWM")
	if peak > mostMemory {
		t.Errorf("%d bytes of RSS; want at most %d", peak, mostMemory)
	}
	if followed {
		for range ids {
			if err := <-follow; err != nil {
				t.Error(err)
			}
		}
		peak = p.status("VmHWM")
		t.Logf("| resident memory at its highest, when each was followed meanwhile (target: 128 MiB) | %.1f MiB; %.1f s |", float64(peak)/(1<<20), took.Seconds())
		if peak > mostMemory {
			t.Errorf("%d bytes of RSS with a subscriber on each; want at most %d", peak, mostMemory)
		}
		return
	}
	if lost := number(t, p.get("/metrics"), "rdev_output_records_lost_total"); lost > 0 {
		t.Errorf("%d records were lost", lost)
	}
	opening := p.opening(ids)
	for _, id := range ids {
		if err := p.headAndTail(id, lines, output); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	read := p.status("VmHWM")
	for _, id := range ids {
		p.ended(id)
	}
	for _, row := range []string{
		"| 100 commands at full speed | |",
		"|---|---|",
		fmt.Sprintf("| output | %.2f GB in %d lines, %d of them not kept |", float64(flooding*lines*floodLine)/1e9, flooding*lines, dropped),
		fmt.Sprintf("| time | %.1f s, %.0f MB/s (all together were up after %.1f s) |", took.Seconds(), float64(flooding*lines*floodLine)/1e6/took.Seconds(), began.Sub(start).Seconds()),
		fmt.Sprintf("| **resident memory of rdev-api at its highest** (target: 128 MiB) | **%.1f MiB** |", float64(peak)/(1<<20)),
		fmt.Sprintf("| outputs on the disk at their highest (allowed: %d MiB) | %.1f MiB |", total>>20, float64(most)/(1<<20)),
		fmt.Sprintf("| **to open a log and read its last ten lines, allocated** (target: 1 MiB) | **%d KiB** |", opening>>10),
		fmt.Sprintf("| resident memory at its highest, when each log was read as text, and when each was read as events | %.1f MiB, %.1f MiB |", float64(read)/(1<<20), float64(p.status("VmHWM"))/(1<<20)),
		fmt.Sprintf("| answers of /ready and the list of commands meanwhile | %d, the slowest after %v |", asked, longest.Round(time.Millisecond)),
	} {
		t.Log(row)
	}
}

// drain reads the events of a command up to its end, as they come, and comes back where the service ends a connection before that: who lags so far behind
// that what it has half of is no longer kept is told of a gap on the next one.
func (p *process) drain(id string) error {
	for last := ""; ; {
		ended, err := p.drainOnce(id, &last)
		if ended || err != nil {
			return err
		}
	}
}

func (p *process) drainOnce(id string, last *string) (ended bool, err error) {
	r, err := http.NewRequestWithContext(p.context(), http.MethodGet, "http://localhost/v1/projects/web/commands/"+id+"/events", nil)
	if err != nil {
		return false, err
	}
	if *last != "" {
		r.Header.Set("Last-Event-ID", *last)
	}
	resp, err := p.socket.Do(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusTooManyRequests {
		time.Sleep(time.Second) // which is what it asks for
		return false, nil
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the events of %s behind %s: %s", id, *last, resp.Status)
	}
	in, next := bufio.NewReaderSize(resp.Body, 64<<10), ""
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF:
			return ended, nil
		case err != nil:
			return false, err
		case len(line) == 1 && next != "": // all of an event
			*last, next = next, ""
		case bytes.HasPrefix(line, []byte("id: ")):
			next = string(line[4 : len(line)-1])
		case string(line) == "event: end\n":
			ended = true
		}
	}
}

// over waits until a command has ended, without reading what it prints.
func (p *process) over(id string) rdev.Command {
	p.t.Helper()
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		c, err := p.api.Command(p.t.Context(), "web", id)
		if err != nil {
			p.t.Fatal(err)
		}
		if c.Status == rdev.Ended {
			return c
		}
		if time.Since(start) > 10*patience {
			p.t.Fatalf("%+v does not end", c)
		}
	}
}

// lines counts those of a file in the project.
func (p *process) lines(name string) int {
	text, err := os.ReadFile(p.path("web/" + name))
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// watchDisk looks at what outputs take on the disk, until the test calls stop, which says how much that was at most.
func (p *process) watchDisk() (stop func() int64) {
	end, done := make(chan struct{}), make(chan struct{})
	var most int64
	look := func() {
		var sum int64
		files, _ := filepath.Glob(p.path("state/logs/*"))
		for _, name := range files {
			if info, err := os.Stat(name); err == nil { // else it was removed
				sum += info.Size()
			}
		}
		most = max(most, sum)
	}
	go func() {
		defer close(done)
		for every := time.NewTicker(50 * time.Millisecond); ; {
			look()
			select {
			case <-end:
				look()
				return
			case <-every.C:
			}
		}
	}()
	return sync.OnceValue(func() int64 { close(end); <-done; return most })
}

// opening is how many bytes the service allocates to open a log, find its last ten lines, and send them.
func (p *process) opening(ids []string) int64 {
	p.t.Helper()
	allocated := func() int64 { return number(p.t, p.get("/debug/pprof/heap?debug=1"), "# TotalAlloc") }
	between := allocated()
	cost := -(allocated() - between) // what asking costs
	before := allocated()
	for _, id := range ids {
		if out := p.output(id, 10); strings.Count(out, "\n") != 10 {
			p.t.Errorf("%s: the last 10 lines are %q", id, out)
		}
	}
	cost += allocated() - before
	cost /= int64(len(ids))
	if cost > mostOpening {
		p.t.Errorf("%d bytes to open a log; want at most %d", cost, mostOpening)
	}
	return cost
}

// headAndTail reads what is kept: the first lines, a marker, and the last ones, of about as many bytes as were asked for.
func (p *process) headAndTail(id string, lines, output int64) error {
	resp, err := p.socket.Get("http://localhost/v1/projects/web/commands/" + id + "/output")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var next, head, tail, marker int64 = 1, 0, 0, 0
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		var n int64
		if _, err := fmt.Sscanf(line, "[rdev: %d records are not kept here]\n", &n); err == nil {
			if line, err = in.ReadString('\n'); err == nil && len(line) < floodLine { // the rest of one that was shown before it had its end
				line, err = in.ReadString('\n')
			}
			here, wrong := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
			if err != nil || wrong != nil || n < here-next || n > here-next+flooding { // some lines became two records
				return fmt.Errorf("behind line %d and a marker for %d records is %q", next-1, n, line)
			}
			next, marker, head = here, marker+1, next-1
		}
		if line != fmt.Sprintf("%0*d\n", floodLine-1, next) {
			return fmt.Errorf("line %d is %q", next, line)
		}
		next++
		if marker > 0 {
			tail++
		}
	}
	kept := (head + tail) * floodLine
	if marker != 1 || next != lines+1 || kept < output/2 || kept > output || head*floodLine < output/10 || tail < head || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d lines in the head, %d in the tail, %d markers; the last is %d: %s", head, tail, marker, next-1, resp.Status)
	}
	return nil
}
