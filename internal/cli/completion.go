package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

var shells = []string{"bash", "zsh", "fish"}

func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Write a shell's completion script",
		Long:      "Write the script that makes a shell complete stella's commands, flags and their values.",
		ValidArgs: shells,
		Example: `  source <(stella completion bash)
  stella completion zsh > "${fpath[1]}/_stella"
  stella completion fish > ~/.config/fish/completions/stella.fish`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef(cmd, "name one shell: %s", strings.Join(shells, ", "))
			case !slices.Contains(shells, args[0]):
				return usagef(cmd, "there is no completion for %q, only for %s%s", args[0], strings.Join(shells, ", "), didYouMean(args[0], shells))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			}
			return root.GenFishCompletion(out, true)
		},
	}
}

// complete makes a shell offer values for a flag.
func complete(cmd *cobra.Command, flag string, values ...string) {
	mustKnow(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
}

// completeDirectory makes a shell offer directories for a flag.
func completeDirectory(cmd *cobra.Command, flag string) {
	mustKnow(cmd.MarkFlagDirname(flag))
}

// mustKnow panics where a completion names a flag that does not exist: a
// mistake in this program, which every start and so every test shows.
func mustKnow(err error) {
	if err != nil {
		panic(err)
	}
}

// refSchemes are how a reference can begin.
var refSchemes = []string{"registry:", "oci-dir:", "oci-archive:", "docker-archive:", "dir:"}

// completeRef offers schemes and files.
func completeRef(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var found []string
	for _, s := range refSchemes {
		if word != "" && strings.HasPrefix(s, word) {
			found = append(found, s)
		}
	}
	if found != nil {
		return found, cobra.ShellCompDirectiveNoSpace
	}
	return nil, cobra.ShellCompDirectiveDefault
}
