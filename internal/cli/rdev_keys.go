package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/rdev"
)

// rdevScopes are the scopes of keys, in order.
var rdevScopes = []string{string(rdev.ScopeRead), string(rdev.ScopeRun), string(rdev.ScopeAdmin)}

func newRdevKeys(a *app, f *rdevFlags) *cobra.Command {
	return group(&cobra.Command{
		Use:   "keys",
		Short: "Make, list, rotate and revoke API keys of the rdev-api",
		Long: `Make, list, rotate and revoke the API keys that the rdev-api wants over TCP.

` + rdevHelp,
	}, newRdevKeysCreate(a, f), newRdevKeysList(a, f), newRdevKeysRotate(a, f), newRdevKeysRevoke(a, f))
}

func newRdevKeysCreate(a *app, f *rdevFlags) *cobra.Command {
	format := "text"
	var request rdev.KeyRequest
	var expires span
	cmd := &cobra.Command{
		Use:   "create NAME --scope read|run|admin",
		Short: "Make an API key, and show its secret this once",
		Long: `Make an API key. Its secret is printed on standard output, alone, and never again: the
service keeps only a hash of it. The scope read sees commands and what they print, run also
runs and cancels them, admin also makes keys and reads the audit log.`,
		Example: `  stella rdev keys create ci --scope run --project web --expires 90d
  (umask 077 && stella rdev keys create ci --scope run > ci.key)
  stella rdev run --rdev https://rdev.example --api-key-file ci.key -p web -- make test`,
		Args: oneArg("a name for the key"),
	}
	scope := ""
	cmd.Flags().StringVar(&scope, "scope", "", "`what` it may do: "+strings.Join(rdevScopes, ", "))
	cmd.Flags().StringSliceVarP(&request.Projects, "project", "p", nil, "`names` of the projects that it is for (default all)")
	cmd.Flags().Var(&expires, "expires", "how long it is valid, such as 24h or 90d (default until it is revoked)")
	addFormat(cmd, &format, textFormats)
	complete(cmd, "scope", rdevScopes...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkFormat(cmd, format, textFormats); err != nil {
			return err
		}
		if !slices.Contains(rdevScopes, scope) {
			return usagef(cmd, "--scope %s: choose %s%s", quoteIfOdd(scope), listText(rdevScopes), didYouMean(scope, rdevScopes))
		}
		request.Name, request.Scope, request.TTL = args[0], rdev.Scope(scope), time.Duration(expires)
		if err := request.Check(); err != nil {
			return &usageError{cmd, err}
		}
		return f.ask(cmd.Context(), a, func(ctx context.Context, service rdevService) error {
			key, err := service.CreateKey(ctx, request)
			if err != nil {
				return err
			}
			return a.showSecret(format, &key)
		})
	}
	return cmd
}

// showSecret writes a key's secret, alone.
func (a *app) showSecret(format string, key *rdev.NewKey) error {
	until := "until it is revoked"
	if !key.Expires.IsZero() {
		until = "until " + timeText(key.Expires)
	}
	a.note("key %s may %s in %s, %s; its secret is shown this once", key.Name, key.Scope, keyProjects(&key.Key), until)
	return a.show(format, key, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, key.Secret)
		return err
	})
}

func keyProjects(k *rdev.Key) string {
	if len(k.Projects) == 0 {
		return "all projects"
	}
	return strings.Join(k.Projects, ", ")
}

func newRdevKeysList(a *app, f *rdevFlags) *cobra.Command {
	format := "table"
	formats := []string{"table", "json", "yaml"}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List API keys, without their secrets",
		Example: "  stella rdev keys list",
		Args:    noArgs,
	}
	addFormat(cmd, &format, formats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, formats); err != nil {
			return err
		}
		return f.ask(cmd.Context(), a, func(ctx context.Context, service rdevService) error {
			keys, err := service.Keys(ctx)
			if err != nil {
				return err
			}
			return a.show(format, list(keys), a.table(format, rdevKeyRows(keys, time.Now())))
		})
	}
	return cmd
}

// rdevKeyRows are keys for people.
func rdevKeyRows(keys []rdev.Key, now time.Time) *rows {
	r := newRows(2, "NAME", "SCOPE", "PROJECTS", "STATE", "EXPIRES", "USED", "AGE", "BY")
	for i := range keys {
		k := &keys[i]
		state := "valid"
		switch {
		case !k.Expires.IsZero() && !k.Expires.After(now):
			state = "expired"
		case k.Rotated.After(now):
			state = "two secrets until " + timeText(k.Rotated)
		}
		used := "never"
		if !k.Used.IsZero() {
			used = since(now, k.Used) + " ago"
		}
		r.add(k.Name, string(k.Scope), keyProjects(k), state, timeText(k.Expires), used, since(now, k.Created), k.By)
	}
	return r
}

func newRdevKeysRotate(a *app, f *rdevFlags) *cobra.Command {
	format := "text"
	var grace span
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Give an API key another secret, and show it this once",
		Long: `Give an API key another secret, which is printed on standard output, alone. The old one
counts for the time that --grace says, so that who uses it can change over.`,
		Example: "  stella rdev keys rotate ci --grace 24h",
		Args:    oneArg("the name of a key; stella rdev keys list shows them"),
	}
	cmd.Flags().Var(&grace, "grace", "how long the old secret counts too, such as 24h (default not at all)")
	addFormat(cmd, &format, textFormats)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkFormat(cmd, format, textFormats); err != nil {
			return err
		}
		request := rdev.RotateRequest{Grace: time.Duration(grace)}
		if err := request.Check(); err != nil {
			return &usageError{cmd, err}
		}
		return f.ask(cmd.Context(), a, func(ctx context.Context, service rdevService) error {
			key, err := service.RotateKey(ctx, args[0], request)
			if err != nil {
				return err
			}
			return a.showSecret(format, &key)
		})
	}
	return cmd
}

func newRdevKeysRevoke(a *app, f *rdevFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Remove an API key: its streams end, and the next request with it is refused",
		Example: "  stella rdev keys revoke ci",
		Args:    oneArg("the name of a key; stella rdev keys list shows them"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.ask(cmd.Context(), a, func(ctx context.Context, service rdevService) error {
			if err := service.RevokeKey(ctx, args[0]); err != nil {
				return err
			}
			return a.result(func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "key %s is revoked\n", args[0])
				return err
			})
		})
	}
	return cmd
}
