package api

import (
	"context"
	"net/http"
	"time"

	"stella/internal/scanner"
)

// jobID is the path's.
type jobID struct {
	ID int64 `path:"id" minimum:"1" doc:"the job's number"`
}

type jobsFilter struct {
	Status []scanner.Status `query:"status" enum:"pending,running,succeeded,failed,timeout,cancelled" doc:"only jobs with one of these, separated by commas" maxItems:"6"`
	Pool   string           `query:"pool" doc:"only jobs of this pool" maxLength:"63"`
	Image  string           `query:"image" doc:"only images with this in their reference, or with this digest" maxLength:"4096"`
	Since  time.Time        `query:"since" doc:"only jobs that were submitted, or ended, after this"`
	Before int64            `query:"before" minimum:"1" doc:"only jobs with a lower number: the last of one page begins the next"`
	Limit  int              `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"the most jobs"`
}

func (a *API) registerJobs() {
	submit := operation(scanner.ScopeScan, http.MethodPost, "/v1/jobs", "submit-job", "Ask for a scan; the same image shares a job that has not ended")
	submit.DefaultStatus = http.StatusAccepted
	register(a, submit, func(ctx context.Context, by scanner.Caller, in *body[scanner.Request]) (scanner.Job, error) {
		return a.service.Submit(ctx, by, in.Body)
	})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/jobs", "list-jobs", "List jobs, newest first"),
		func(ctx context.Context, _ scanner.Caller, in *jobsFilter) ([]scanner.Job, error) {
			return list(a.service.Jobs(ctx, scanner.JobFilter(*in)))
		})
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/jobs/{id}", "get-job", "Everything about a job"),
		func(ctx context.Context, _ scanner.Caller, in *jobID) (scanner.JobDetails, error) {
			return a.service.Job(ctx, in.ID)
		})
	register(a, operation(scanner.ScopeScan, http.MethodPost, "/v1/jobs/{id}/cancel", "cancel-job", "End a job that has not ended"),
		func(ctx context.Context, by scanner.Caller, in *jobID) (scanner.Job, error) {
			return a.service.Cancel(ctx, by, in.ID)
		})
	register(a, operation(scanner.ScopeScan, http.MethodPost, "/v1/jobs/{id}/retry", "retry-job", "Let a job that failed wait again"),
		func(ctx context.Context, by scanner.Caller, in *jobID) (scanner.Job, error) {
			return a.service.Retry(ctx, by, in.ID)
		})
	a.registerStreams()
}
