package server

import (
	"context"
	"errors"
	"time"

	"stella/internal/doctor"
	"stella/internal/scanner"
	"stella/internal/scanner/checks"
	"stella/internal/scanner/service"
)

// examined is the scanner service with a doctor.
type examined struct {
	*service.Service
	doctor *doctor.Doctor
}

// examine gives a service its doctor.
func examine(scans *service.Service, o Options) (examined, error) {
	d, err := doctor.New(o.Log, checks.All(patient{scans}, []checks.Directory{
		{Name: "data", Path: o.DataDir},
		{Name: "cache", Path: o.CacheDir},
		{Name: "temporary files", Path: o.TempDir},
	})...)
	return examined{scans, d}, err
}

// Doctor runs checks by ID, all without any.
func (e examined) Doctor(ctx context.Context, ids []string) (doctor.Report, error) {
	report, err := e.doctor.Run(ctx, ids)
	if errors.Is(err, doctor.ErrNoCheck) {
		return report, scanner.Errorf(scanner.ErrInvalid, "%w", err)
	}
	return report, err
}

// patient is the service as the checks see it.
type patient struct{ *service.Service }

// QueueStatus is what waits.
func (p patient) QueueStatus(ctx context.Context) (scanner.QueueStatus, error) { return p.Queue(ctx) }

// Incidents are those since then, newest first.
func (p patient) Incidents(ctx context.Context, since time.Time, limit int) ([]scanner.WorkerKill, error) {
	return p.IncidentsSince(ctx, since, limit)
}
