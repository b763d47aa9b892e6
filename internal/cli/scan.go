package cli

import "github.com/spf13/cobra"

func newScan(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "scan",
		Short: "Find out what is in an image",
	}, newScanImage(a), newScanGet(a))
}
