package cli

import (
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// refHelp explains REF in the help of every command that takes one.
const refHelp = `REF is one of
  NAME[:TAG][@DIGEST]            an image in a registry, also registry:NAME
  oci-dir:PATH[:TAG|@DIGEST]     an OCI layout in a directory
  oci-archive:PATH[:TAG|@DIGEST] an OCI layout in a tar file
  docker-archive:PATH[:NAME:TAG] a file that "docker save" wrote
  dir:PATH                       a directory as a root file system
  PATH                           any of these four, by what is in it
Credentials come from the Docker configuration and its helpers.`

// oneRef is the Args of a command about one image, named by the argument or by
// a flag, which is flag's value.
func (a *app) oneRef(flag *string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 1:
			return usagef(cmd, "%q takes one image, but got %q as well", cmd.CommandPath(), args[1])
		case len(args) == 1 && *flag != "" && *flag != args[0]:
			return usagef(cmd, "the argument says %q and --image says %q", args[0], *flag)
		case len(args) == 1:
			*flag = args[0]
		case *flag == "":
			return usagef(cmd, "%q needs an image, such as debian:12 or oci-archive:app.tar", cmd.CommandPath())
		}
		return nil
	}
}

// addOutput adds -o, --output and its other name --format, with values to complete.
func addOutput(cmd *cobra.Command, value *[]string, usage string, values ...string) {
	v := (*repeated)(value)
	cmd.Flags().VarP(v, "output", "o", usage)
	cmd.Flags().Var(v, "format", "`VALUE`, the same as --output")
	complete(cmd, "output", values...)
	complete(cmd, "format", values...)
}

// repeated is a flag that adds to a list. pflag's own kind starts a new list
// at the first use of each name, so it cannot have two names.
type repeated []string

// String implements pflag.Value.
func (r *repeated) String() string { return strings.Join(*r, " ") }

// Set implements pflag.Value.
func (r *repeated) Set(s string) error {
	*r = append(*r, s)
	return nil
}

// Type implements pflag.Value.
func (r *repeated) Type() string { return "value" }

// addFormat is addOutput for a command with one output.
func addFormat(cmd *cobra.Command, value *string, formats []string) {
	usage := "`FORMAT` of the result: " + listText(formats)
	cmd.Flags().StringVarP(value, "output", "o", *value, usage)
	cmd.Flags().StringVar(value, "format", *value, "`VALUE`, the same as --output")
	complete(cmd, "output", formats...)
	complete(cmd, "format", formats...)
}

func checkFormat(cmd *cobra.Command, value string, formats []string) error {
	if slices.Contains(formats, value) {
		return nil
	}
	return usagef(cmd, "unknown format %q: choose %s%s", value, listText(formats), didYouMean(value, formats))
}

// listText joins words as a sentence does: "a, b or c".
func listText(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// writeJSON writes a value for programs and for people.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
