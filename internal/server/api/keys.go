package api

import (
	"context"
	"net/http"

	"stella/internal/scanner"
)

type keyName struct {
	Name string `path:"name" doc:"the key's name" maxLength:"63"`
}

func (a *API) registerKeys() {
	create := operation(scanner.ScopeAdmin, http.MethodPost, "/v1/keys", "create-key", "Make an API key; only this answer ever has its secret")
	create.DefaultStatus = http.StatusCreated
	register(a, create, func(ctx context.Context, by scanner.Caller, in *body[scanner.KeyRequest]) (scanner.NewKey, error) {
		return a.keys.Create(ctx, by, in.Body)
	})
	register(a, operation(scanner.ScopeAdmin, http.MethodGet, "/v1/keys", "list-keys", "List API keys, without their secrets"),
		func(ctx context.Context, _ scanner.Caller, _ *none) ([]scanner.Key, error) {
			return list(a.keys.List(ctx))
		})
	registerSilent(a, operation(scanner.ScopeAdmin, http.MethodDelete, "/v1/keys/{name}", "revoke-key", "Revoke an API key, at once"),
		func(ctx context.Context, by scanner.Caller, in *keyName) error {
			return a.keys.Revoke(ctx, by, in.Name)
		})
}
