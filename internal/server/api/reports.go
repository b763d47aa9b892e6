package api

import (
	"context"
	"net/http"

	"stella/internal/doctor"
	"stella/internal/scanner"
)

type doctorInput struct {
	Check []string `query:"check" doc:"IDs of checks, or what several begin with, separated by commas; empty is all" maxItems:"64"`
}

func (a *API) registerReports() {
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/status", "get-status", "The service at a glance"),
		func(ctx context.Context, _ scanner.Caller, _ *none) (scanner.ServiceStatus, error) {
			return a.service.Status(ctx)
		})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/queue", "get-queue", "What waits"),
		func(ctx context.Context, _ scanner.Caller, _ *none) (scanner.QueueStatus, error) {
			return a.service.Queue(ctx)
		})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/stats", "get-stats", "Totals over jobs and attempts"),
		func(ctx context.Context, _ scanner.Caller, in *last) (scanner.Stats, error) {
			d, err := in.duration()
			if err != nil {
				return scanner.Stats{}, err
			}
			return a.service.Stats(ctx, d)
		})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/doctor", "run-doctor", "Run checks, and say what is wrong and what to do"),
		func(ctx context.Context, _ scanner.Caller, in *doctorInput) (doctor.Report, error) {
			return a.service.Doctor(ctx, in.Check)
		})
}
