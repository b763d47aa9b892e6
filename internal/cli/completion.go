package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/client"
	"stella/internal/scanner"
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

// completionTime is how long a shell's user waits for values that only a server knows.
const completionTime = time.Second

// completeKey offers the keys of settings for the first argument.
func completeKey(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return scanner.Keys(), cobra.ShellCompDirectiveNoFileComp
}

// fromServer makes a completion of what a server answers; of nothing where it does not in time.
func fromServer(a *app, f *serverFlags, ask func(context.Context, *client.Client) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		service, err := f.client(a)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		values, err := ask(ctx, service)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

// completePools makes a shell offer the names of pools for a flag.
func completePools(cmd *cobra.Command, flag string, a *app, f *serverFlags) {
	mustKnow(cmd.RegisterFlagCompletionFunc(flag, fromServer(a, f, func(ctx context.Context, service *client.Client) ([]string, error) {
		pools, err := service.Pools(ctx)
		var names []string
		for _, p := range pools {
			names = append(names, p.Name)
		}
		return names, err
	})))
}

// completeWorkers offers the names of workers for the first argument.
func completeWorkers(a *app, f *serverFlags) cobra.CompletionFunc {
	names := fromServer(a, f, func(ctx context.Context, service *client.Client) ([]string, error) {
		workers, err := service.Workers(ctx)
		var names []string
		for _, w := range workers {
			names = append(names, w.Name)
		}
		return names, err
	})
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(cmd, args, word)
	}
}
