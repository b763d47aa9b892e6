package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersion(a *app) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which version of stella this is",
		Example: `  stella version
  stella version -o json | jq -r .version`,
		Args: noArgs,
	}
	formats := []string{"text", "json"}
	addFormat(cmd, &format, formats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, formats); err != nil {
			return err
		}
		return a.showVersion(format)
	}
	return cmd
}

// showVersion says which version this is, as text or json.
func (a *app) showVersion(format string) error {
	v := struct {
		Version  string `json:"version"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{a.version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if format == "json" {
		return writeJSON(a.stdout, v)
	}
	_, err := fmt.Fprintf(a.stdout, "stella %s (%s, %s)\n", v.Version, v.Go, v.Platform)
	return err
}

// addVersionFlag lets --version do alone what the command version does, as people try first. cobra's own flag would link text/template.
func (a *app) addVersionFlag(root *cobra.Command) {
	asked, run := false, root.RunE
	root.Flags().BoolVar(&asked, "version", false, "say which version of stella this is")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if asked {
			return a.showVersion("text")
		}
		return run(cmd, args)
	}
}
