package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/scanner"
)

func newKeys(a *app) *cobra.Command {
	f := new(serverFlags)
	cmd := group(&cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke API keys of the scanner service",
		Long: `Make, list and revoke the API keys that the scanner service wants over TCP. Root,
and the service's own user, need none through the Unix socket.

` + serviceHelp,
	}, newKeysCreate(a, f), newKeysList(a, f), newKeysRevoke(a, f))
	f.add(cmd.PersistentFlags())
	return cmd
}

func scopeNames() []string {
	names := make([]string, len(scanner.Scopes))
	for i, s := range scanner.Scopes {
		names[i] = string(s)
	}
	return names
}

func newKeysCreate(a *app, f *serverFlags) *cobra.Command {
	format, scope := "text", ""
	var expires span
	cmd := &cobra.Command{
		Use:   "create NAME --scope read|scan|incidents|remedies|admin",
		Short: "Make an API key, and show its secret this once",
		Long: `Make an API key. Its secret is printed on standard output, alone, and never again:
the service keeps only a hash of it. The scope read sees everything, scan also
submits, cancels and retries jobs, incidents only tells what happens to incidents (for
agents), remedies sees, tells, and approves remedies and ends incidents, admin does
all that, and changes settings, workers and keys.`,
		Example: `  stella keys create ci --scope scan --expires 90d
  (umask 077 && stella keys create ci --scope scan > ci.key)
  stella scan image app:1.4 --server https://scanner.example:8443 --api-key-file ci.key`,
		Args: oneArg("a name for the key"),
	}
	cmd.Flags().StringVar(&scope, "scope", "", "`what` it may do: "+strings.Join(scopeNames(), ", "))
	cmd.Flags().Var(&expires, "expires", "how long it is valid, such as 24h or 90d (default until it is revoked)")
	addFormat(cmd, &format, textFormats)
	complete(cmd, "scope", scopeNames()...)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkFormat(cmd, format, textFormats); err != nil {
			return err
		}
		if !slices.Contains(scopeNames(), scope) {
			return usagef(cmd, "--scope %s: choose %s%s", quoteIfOdd(scope), listText(scopeNames()), didYouMean(scope, scopeNames()))
		}
		request := scanner.KeyRequest{Name: args[0], Scope: scanner.Scope(scope), TTL: scanner.Duration(expires)}
		if err := request.Check(); err != nil {
			return &usageError{cmd, err}
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		key, err := service.CreateKey(cmd.Context(), request)
		if err != nil {
			return err
		}
		a.note("key %s may %s, %s; its secret is shown this once", key.Name, key.Scope, expiryText(&key.Key))
		return a.show(format, key, func(w io.Writer) error {
			_, err := fmt.Fprintln(w, key.Secret)
			return err
		})
	}
	return cmd
}

func expiryText(k *scanner.Key) string {
	if k.Expires.IsZero() {
		return "until it is revoked"
	}
	return "until " + timeText(k.Expires)
}

func newKeysList(a *app, f *serverFlags) *cobra.Command {
	format := "table"
	formats := []string{"table", "json", "yaml"}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List API keys, without their secrets",
		Example: "  stella keys list",
		Args:    noArgs,
	}
	addFormat(cmd, &format, formats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, formats); err != nil {
			return err
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		keys, err := service.Keys(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(format, list(keys), a.table(format, keyRows(keys, time.Now())))
	}
	return cmd
}

// keyRows are keys for people.
func keyRows(keys []scanner.Key, now time.Time) *rows {
	r := newRows(0, "NAME", "SCOPE", "STATE", "EXPIRES", "USED", "AGE", "BY")
	for _, k := range keys {
		state := "valid"
		if !k.Expires.IsZero() && !k.Expires.After(now) {
			state = "expired"
		}
		used := "never"
		if !k.Used.IsZero() {
			used = since(now, k.Used) + " ago"
		}
		r.add(k.Name, string(k.Scope), state, timeText(k.Expires), used, since(now, k.Created), k.By)
	}
	return r
}

func newKeysRevoke(a *app, f *serverFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Remove an API key: the next request with it is refused",
		Example: "  stella keys revoke ci",
		Args:    oneArg("the name of a key; stella keys list shows them"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		service, err := f.client(a)
		if err != nil {
			return err
		}
		if err := service.RevokeKey(cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.result(func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "key %s is revoked\n", args[0])
			return err
		})
	}
	return cmd
}
