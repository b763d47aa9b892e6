package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/client"
	"stella/internal/oom"
)

// oomWatch is "stella oom watch".
type oomWatch struct {
	app    *app
	agent  *agentFlags
	format string
}

func newOOMWatch(a *app, f *agentFlags) *cobra.Command {
	c := &oomWatch{app: a, agent: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show OOM kills as they happen, until Ctrl-C",
		Long: `Show OOM kills as they happen, each in a line, until Ctrl-C. A kill is told at once,
and again, with a + before it, when more became known of it, such as its pod.

-o json writes one object for each line: the kill, and whether it was told before. When
the connection breaks, the command comes back by itself and misses nothing.

` + agentHelp,
		Example: `  stella oom watch
  stella oom watch -o json | jq -r 'select(.updated | not) | .kill.process.comm'`,
		Args: noArgs,
		RunE: c.run,
	}
	formats := []string{"text", "json"}
	addFormat(cmd, &c.format, formats)
	f.add(cmd.Flags())
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return checkFormat(cmd, c.format, formats) }
	return cmd
}

func (c *oomWatch) run(cmd *cobra.Command, _ []string) error {
	ctx := cmd.Context()
	err := c.agent.ask(ctx, c.app, func(ctx context.Context, agent *client.Agent) error {
		status, err := agent.Status(ctx)
		if err != nil {
			return err
		}
		c.app.warn(witnessWarnings(&status)...)
		c.app.note("watching for OOM kills on %s; Ctrl-C ends it", status.Node)
		told := newRecent(maxTold)
		return agent.Watch(ctx, "", func(e oom.KillEvent) error {
			if e.Missed > 0 {
				c.app.warn(countOf(e.Missed, "event") + " left out, because this reader was slow: stella oom list has all kills")
			}
			return c.write(c.app.stdout, told, e)
		})
	})
	return followed(ctx, err)
}

// write writes one event: without a buffer, so that it is seen at once. For people it
// leaves out an update that changes nothing in the line.
func (c *oomWatch) write(w io.Writer, told *recent, e oom.KillEvent) error {
	if c.format == "json" {
		return json.NewEncoder(w).Encode(e) // in one write
	}
	text := killLine(&e.Kill)
	if !told.put(e.Kill.ID, text) {
		return nil
	}
	mark := " "
	if e.Updated {
		mark = "+"
	}
	_, err := io.WriteString(w, mark+" "+text+"\n")
	return err
}

// killLine is a kill in one line, for a stream.
func killLine(k *oom.Kill) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s: %s killed", k.Time.UTC().Format("2006-01-02T15:04:05.000Z"), k.ID, placeText(k), victimText(k))
	if n := k.Process.Resident(); n > 0 {
		fmt.Fprintf(&b, " with %s", bytesize.Text(n))
	}
	fmt.Fprintf(&b, ", limit %s", limitOf(&k.Limit))
	if hiddenText(k) == "yes" {
		b.WriteString(", no restart shows it")
	}
	if k.Confidence != oom.Certain {
		fmt.Fprintf(&b, ", %s", k.Confidence)
	}
	return oneLine(b.String())
}

// maxTold bounds the kills whose updates are compared with what was told: a kill
// settles in seconds, and a storm has a hundred a second.
const maxTold = 1024

// recent remembers the last text of the last keys.
type recent struct {
	texts map[string]string
	keys  []string // a ring, the next one to forget at next
	next  int
}

func newRecent(size int) *recent {
	return &recent{texts: make(map[string]string), keys: make([]string, size)}
}

// put keeps a text, and reports whether it is another than was kept for the key.
func (r *recent) put(key, text string) bool {
	old, known := r.texts[key]
	if known && old == text {
		return false
	}
	if !known {
		delete(r.texts, r.keys[r.next])
		r.keys[r.next] = key
		r.next = (r.next + 1) % len(r.keys)
	}
	r.texts[key] = text
	return true
}
