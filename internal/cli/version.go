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
	return cmd
}
