package cli

import (
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"stella/internal/bytesize"
	"stella/internal/scan"
)

const (
	redrawEvery = 100 * time.Millisecond // as often as an eye can follow
	plainEvery  = 10 * time.Second       // a log line in between stages, so that nobody thinks it hangs
)

// progressMode is the value of --progress.
type progressMode string

var progressModes = []string{"auto", "tty", "plain", "none"}

// look says what a scan does: its stage, by a word, and a line for people. With
// fileLast the line ends with the file being read, which is the part that a narrow
// terminal loses first.
type look func(fileLast bool) (stage, line string)

// progress shows how a scan is doing until it is stopped.
type progress struct {
	console *console
	look    look

	quit chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

// startProgress starts to show a scan. The caller must call stop.
func startProgress(c *console, mode progressMode, look look) *progress {
	p := &progress{console: c, look: look, quit: make(chan struct{})}
	switch {
	case mode == "tty" || mode == "auto" && c.terminal:
		p.wg.Go(p.line)
	case mode == "plain" || mode == "auto":
		p.wg.Go(p.log)
	}
	return p
}

// stop ends the progress and takes its line off the terminal. It may be called again.
func (p *progress) stop() {
	p.once.Do(func() { close(p.quit) })
	p.wg.Wait()
}

// line keeps one line on a terminal up to date.
func (p *progress) line() {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	defer p.console.setLine("")
	for {
		_, line := p.look(true)
		p.console.setLine(line)
		select {
		case <-tick.C:
		case <-p.quit:
			return
		}
	}
}

// log writes a line when a stage begins, and now and then within a long one.
func (p *progress) log() {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	var before string
	var last time.Time
	for {
		select {
		case <-tick.C:
		case <-p.quit:
			return
		}
		stage, line := p.look(false)
		if stage == before && time.Since(last) < plainEvery {
			continue
		}
		before, last = stage, time.Now()
		fmt.Fprintf(p.console, "stella: %s\n", line)
	}
}

// progressText says in one line what a scan does; see [look].
func progressText(subject string, s scan.Snapshot, fileLast bool) string {
	packages := countOf(s.Packages, "package")
	switch s.Phase {
	case "":
		return "opening " + subject
	case scan.PhaseLinks:
		return "following links, " + packages
	case scan.PhaseSquash:
		return fmt.Sprintf("combining %s, %s", countOf(int64(s.Layers), "layer"), packages)
	case scan.PhaseDone:
		return "writing the result, " + packages
	}
	var b strings.Builder
	fmt.Fprintf(&b, "layers %d/%d", s.Done, s.Layers)
	if s.Cached > 0 {
		fmt.Fprintf(&b, " (%d cached)", s.Cached)
	}
	if s.Total > 0 {
		fmt.Fprintf(&b, "  %d%% of %s", s.Read*100/s.Total, bytesize.Text(s.Total))
	}
	fmt.Fprintf(&b, "  %s", packages)
	if file := currentFile(s); fileLast && file != "" {
		fmt.Fprintf(&b, "  %s", printable(path.Base(file)))
	}
	return b.String()
}

// currentFile is a file that an extractor has now, empty where there is none.
func currentFile(s scan.Snapshot) string {
	for _, a := range s.Active {
		if a.Path != "" {
			return a.Path
		}
	}
	return ""
}
