package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/scanner"
)

func newScannerConfig(a *app, f *serverFlags) *cobra.Command {
	return group(&cobra.Command{
		Use:   "config",
		Short: "Look at the service's settings, and change them while it runs",
	}, newScannerConfigList(a, f), newScannerConfigGet(a, f), newScannerConfigSet(a, f), newScannerConfigUnset(a, f))
}

// configGet is "stella scanner config get" and "list".
type configGet struct {
	app    *app
	server *serverFlags
	format string
}

// configFormats are those of lists; text of a single setting is its bare value.
var configFormats = []string{"text", "wide", "json", "yaml"}

func newScannerConfigList(a *app, f *serverFlags) *cobra.Command {
	c := &configGet{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all settings, their values and where those come from",
		Long:  "List all settings. -o wide also says what each does, and which values are allowed.",
		Example: `  stella scanner config list
  stella scanner config list -o wide`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd, "") },
	}
	addFormat(cmd, &c.format, configFormats)
	return cmd
}

func newScannerConfigGet(a *app, f *serverFlags) *cobra.Command {
	c := &configGet{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "get KEY|GROUP",
		Short: "Print the value of a setting, or those of a group",
		Long: `Print the value of one setting and nothing else, for scripts, or the settings of a
group such as timeouts. -o wide and -o json also say where a value comes from,
which ones are allowed, and whether workers must be restarted to use it.`,
		Example: `  stella scanner config get worker.memory_limit
  stella scanner config get timeouts
  stella scanner config get worker.memory_limit -o json | jq -r .origin`,
		Args:              oneArg("the key of a setting, or of a group of them"),
		ValidArgsFunction: completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}
	addFormat(cmd, &c.format, configFormats)
	return cmd
}

func (c *configGet) run(cmd *cobra.Command, key string) error {
	if err := checkFormat(cmd, c.format, configFormats); err != nil {
		return err
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	settings, err := service.Settings(cmd.Context(), key)
	if err != nil {
		return suggestKey(err, key)
	}
	if len(settings) == 1 && settings[0].Key == key {
		one := settings[0]
		if c.format == "text" {
			return c.app.result(func(w io.Writer) error {
				_, err := fmt.Fprintln(w, one.Value)
				return err
			})
		}
		return c.app.show(c.format, one, c.app.table(c.format, settingRows(settings, true)))
	}
	return c.app.show(c.format, list(settings), c.app.table(c.format, settingRows(settings, c.format == "wide")))
}

// settingRows are settings for people.
func settingRows(settings []scanner.Setting, wide bool) *rows {
	head := []string{"KEY", "VALUE", "ORIGIN"}
	if wide {
		head = append(head, "DEFAULT", "RESTART", "ALLOWED", "WHAT IT DOES")
	}
	r := newRows(2, head...)
	for _, s := range settings {
		cells := []string{s.Key, s.Value, s.Origin}
		if wide {
			cells = append(cells, s.Default, yesNo(s.Restart), s.Range, s.Doc)
		}
		r.add(cells...)
	}
	return r
}

// configChange is "stella scanner config set" and "unset".
type configChange struct {
	app    *app
	server *serverFlags
	format string
}

func newScannerConfigSet(a *app, f *serverFlags) *cobra.Command {
	c := &configChange{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:   "set KEY VALUE",
		Short: "Change a setting",
		Long: `Change a setting. It counts at once, for what begins from now on; some need workers
to be restarted, and then this says which ones run with the old value, and how to
restart them.`,
		Example: `  stella scanner config set worker.memory_limit 8Gi
  stella scanner config set timeouts.scan 45m
  stella scanner config set sbom.incremental_mode true`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef(cmd, "%q needs a key and a value, but got %s", cmd.CommandPath(), countOf(int64(len(args)), "argument"))
			}
			return nil
		},
		ValidArgsFunction: completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0], func(service *client.Client) (scanner.SettingChange, error) {
				return service.Set(cmd.Context(), args[0], args[1])
			})
		},
	}
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func newScannerConfigUnset(a *app, f *serverFlags) *cobra.Command {
	c := &configChange{app: a, server: f, format: "text"}
	cmd := &cobra.Command{
		Use:               "unset KEY",
		Short:             "Give a setting its default again",
		Example:           "  stella scanner config unset worker.memory_limit",
		Args:              oneArg("the key of a setting"),
		ValidArgsFunction: completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0], func(service *client.Client) (scanner.SettingChange, error) {
				return service.Unset(cmd.Context(), args[0])
			})
		},
	}
	addFormat(cmd, &c.format, textFormats)
	return cmd
}

func (c *configChange) run(cmd *cobra.Command, key string, change func(*client.Client) (scanner.SettingChange, error)) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	changed, err := change(service)
	if err != nil {
		return suggestKey(err, key)
	}
	c.app.warn(changed.Warnings...)
	return c.app.show(c.format, changed, func(w io.Writer) error {
		return writeChange(w, &changed, c.app.console.glyphs().arrow)
	})
}

// writeChange says what changing a setting did, and what is left to do.
func writeChange(w io.Writer, c *scanner.SettingChange, arrow string) error {
	if c.Old == c.Value {
		fmt.Fprintf(w, "%s: %s, as before\n", c.Key, quoteIfOdd(c.Value))
	} else {
		fmt.Fprintf(w, "%s: %s %s %s\n", c.Key, quoteIfOdd(c.Old), arrow, quoteIfOdd(c.Value))
	}
	if len(c.Workers) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s with the old value: %s\nrestart with: stella scanner workers restart\n",
		runText(len(c.Workers)), shortList(c.Workers))
	return err
}

// runText is the beginning of a sentence about workers.
func runText(n int) string {
	if n == 1 {
		return "1 worker still runs"
	}
	return countOf(int64(n), "worker") + " still run"
}

// maxNamed is how many names a sentence lists.
const maxNamed = 8

// shortList joins names, the first few of many.
func shortList(names []string) string {
	text := printable(strings.Join(names[:min(len(names), maxNamed)], ", "))
	if more := len(names) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// suggestKey adds the key that was probably meant to the server's error about another.
func suggestKey(err error, key string) error {
	unknown := errors.Is(err, scanner.ErrNotFound) || errors.Is(err, scanner.ErrInvalid)
	if !unknown || slices.Contains(scanner.Keys(), key) {
		return err
	}
	if meant := didYouMean(key, scanner.Keys()); meant != "" {
		return fmt.Errorf("%w%s", err, meant)
	}
	return err
}
