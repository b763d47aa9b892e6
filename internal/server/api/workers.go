package api

import (
	"context"
	"net/http"

	"stella/internal/scanner"
)

// none is an operation's input where there is none.
type none struct{}

type poolName struct {
	Name string `path:"name" doc:"the pool's name" maxLength:"63" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
}

type putPool struct {
	Name string `path:"name" doc:"the pool's name" maxLength:"63" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Body struct {
		Memory int64 `json:"memory" doc:"limit of each worker, in bytes" minimum:"1"`
		Count  int   `json:"count" doc:"workers of each server" minimum:"1" maximum:"256"`
	}
}

func (a *API) registerWorkers() {
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/workers", "list-workers", "List the workers of all servers that share the database"),
		func(ctx context.Context, _ scanner.Caller, _ *none) ([]scanner.Worker, error) {
			return list(a.service.Workers(ctx))
		})
	register(a, operation(scanner.ScopeAdmin, http.MethodPost, "/v1/workers/restart", "restart-workers", "Restart workers, so that they use new settings"),
		func(ctx context.Context, by scanner.Caller, in *body[scanner.RestartRequest]) ([]scanner.PoolChange, error) {
			return list(a.service.RestartWorkers(ctx, by, in.Body))
		})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/workers/kills", "list-worker-kills", "List OOM kills of workers, newest first, with their evidence"),
		func(ctx context.Context, _ scanner.Caller, in *last) ([]scanner.WorkerKill, error) {
			d, err := in.duration()
			if err != nil {
				return nil, err
			}
			return list(a.service.WorkerKills(ctx, d))
		})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/pools", "list-pools", "List the pools"),
		func(ctx context.Context, _ scanner.Caller, _ *none) ([]scanner.PoolStatus, error) {
			return list(a.service.Pools(ctx))
		})
	register(a, operation(scanner.ScopeAdmin, http.MethodPut, "/v1/pools/{name}", "put-pool", "Make a pool, or change its memory and count"),
		func(ctx context.Context, by scanner.Caller, in *putPool) (scanner.PoolChange, error) {
			return a.service.PutPool(ctx, by, scanner.Pool{Name: in.Name, Memory: in.Body.Memory, Count: in.Body.Count})
		})
	registerSilent(a, operation(scanner.ScopeAdmin, http.MethodDelete, "/v1/pools/{name}", "remove-pool", "Remove a pool; its jobs wait for the pool default"),
		func(ctx context.Context, by scanner.Caller, in *poolName) error {
			return a.service.RemovePool(ctx, by, in.Name)
		})
}
