package cli

import "github.com/spf13/cobra"

func newImage(a *app) *cobra.Command {
	return group(&cobra.Command{
		Use:   "image",
		Short: "Look at an image without scanning it",
	}, newImageInspect(a), newImageLayers(a))
}

// imageFormats are the formats of the commands about an image. The table is
// the text, under the name that other commands have for it.
var imageFormats = []string{"text", "table", "json"}
