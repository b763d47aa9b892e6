package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"stella/internal/client"
)

var (
	// processFlags are about the process that scans; a service has its own settings.
	processFlags = []string{"max-memory", "workers", "cache-dir", "cache-max-size", "no-cache", "tmp-dir", "plain-http", "skip-tls-verify", "profile", "profile-memory"}
	// serviceFlags need a service.
	serviceFlags = []string{"retry", "detach", "pool", "attach"}
)

// flagText lists flags in a sentence.
func flagText(names []string) string {
	return "--" + strings.Join(names, ", --")
}

// flagLines lists flags in lines of their own.
func flagLines(names []string) string {
	var lines []string
	for some := range slices.Chunk(names, 5) {
		lines = append(lines, "  "+flagText(some))
	}
	return strings.Join(lines, ",\n")
}

// given is the first of some flags that the command line has, "" for none.
func given(cmd *cobra.Command, names ...string) string {
	i := slices.IndexFunc(names, func(n string) bool { return cmd.Flags().Changed(n) })
	if i < 0 {
		return ""
	}
	return "--" + names[i]
}

// place decides where a scan runs, and says it: in a service, or, where the client
// is nil, in this process.
func (c *scanImage) place(cmd *cobra.Command) (*client.Client, error) {
	here, there := given(cmd, append([]string{"local"}, processFlags...)...), given(cmd, serviceFlags...)
	named := given(cmd, "server")
	if want := cmp.Or(there, named); here != "" && want != "" {
		return nil, usagef(cmd, "%s is for a scan in this process, %s for one by the scanner service", here, want)
	}
	e, found := c.server.endpoint(c.app.getenv)
	switch {
	case !found && there != "":
		return nil, fmt.Errorf("%s needs the scanner service: %w", there, &noServerError{sockets(c.app.getenv)})
	case !found:
		c.say("scanning in this process")
		return nil, nil
	case here != "":
		c.say("scanning in this process, because of %s", here)
		return nil, nil
	case !e.asked && there == "":
		if err := knock(cmd.Context(), e); err != nil {
			c.say("scanning in this process: nobody answers at %s (%v)", e.address, err)
			return nil, nil
		}
	}
	service, err := c.server.dial(c.app, e)
	if err == nil {
		c.say("scanning by the service at %s", e.address)
	}
	return service, err
}

// say is a note that belongs to the progress: who wants none wants no such notes.
func (c *scanImage) say(format string, args ...any) {
	if c.engine.progress != "none" {
		c.app.note(format, args...)
	}
}

// absoluteRef is a reference that means the same in another directory. What the
// rules of references take for a path is one here too, see [image.Open].
func absoluteRef(ref string) (string, error) {
	scheme, rest, ok := strings.Cut(ref, ":")
	switch {
	case ok && scheme == "registry":
		return ref, nil
	case ok && slices.Contains(refSchemes, scheme+":") && rest != "":
		path, err := filepath.Abs(rest)
		return scheme + ":" + path, err
	case namesPath(ref):
		return filepath.Abs(ref)
	}
	return ref, nil
}

// namesPath reports whether a reference without a scheme begins with a path that
// exists, with or without a tag or a digest behind it, or can be nothing else.
func namesPath(ref string) bool {
	for _, prefix := range []string{"/", "./", "../"} {
		if strings.HasPrefix(ref, prefix) {
			return true
		}
	}
	for i := range len(ref) + 1 {
		if i > 0 && (i == len(ref) || ref[i] == ':' || ref[i] == '@') {
			if _, err := os.Stat(ref[:i]); err == nil {
				return true
			}
		}
	}
	return false
}
