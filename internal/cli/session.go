package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"stella/internal/scan"
	"stella/internal/scan/extract/all"
	"stella/internal/scan/image"
)

// session is one image that is opened and perhaps scanned.
type session struct {
	flags   *engineFlags
	app     *app
	log     *slog.Logger
	ref     string
	monitor scan.Monitor

	shown   *progress    // set by withImage
	tempDir string       // set by open
	image   *image.Image // set by open
}

func (f *engineFlags) session(a *app, ref string) *session {
	return &session{flags: f, app: a, log: a.log(), ref: ref}
}

// withImage opens an image, lets work have it, and closes it. Progress is shown
// until work has returned or has stopped it to write.
func (f *engineFlags) withImage(ctx context.Context, a *app, ref string, work func(context.Context, *session) error) (err error) {
	s := f.session(a, ref)
	ctx, cancel := s.limit(ctx)
	defer cancel()
	s.shown = s.showProgress()
	defer s.shown.stop()
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	return work(ctx, s)
}

// limit applies --timeout to everything that a session does. What it was doing
// is noted before it is told to stop.
func (s *session) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.flags.timeout == 0 {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(s.flags.timeout, func() {
		cancel(&timeoutError{s.ref, s.flags.timeout, s.monitor.Snapshot()})
	})
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// open opens the image. The caller must close the session, also after an error.
func (s *session) open(ctx context.Context) (err error) {
	if s.tempDir, err = s.flags.temp(s.app.getenv, s.log); err != nil {
		return err
	}
	s.image, err = image.Open(ctx, s.ref, image.Options{
		Platform:      s.flags.platform,
		TempDir:       s.tempDir,
		Log:           s.log,
		UserAgent:     "stella/" + s.app.version,
		PlainHTTP:     s.flags.plainHTTP,
		SkipTLSVerify: s.flags.skipTLSVerify,
	})
	return causeOf(ctx, err)
}

// scan reads the image's layers. The caller must close the result.
func (s *session) scan(ctx context.Context) (*scan.Result, error) {
	cache, err := s.flags.cache(s.log)
	if err != nil {
		return nil, err
	}
	s.app.cached = cache != ""
	scan.LimitRuntime(int64(s.flags.memory))
	result, err := scan.Run(ctx, scan.Options{
		Image:      s.image,
		Extractors: all.Extractors(),
		TempDir:    s.tempDir,
		CacheDir:   cache,
		CacheSize:  int64(s.flags.cacheMax),
		Memory:     int64(s.flags.memory),
		Workers:    s.flags.workers,
		Monitor:    &s.monitor,
		Log:        s.log,
	})
	return result, causeOf(ctx, err)
}

// showProgress begins to show what the session does. The caller must stop it.
func (s *session) showProgress() *progress {
	return s.app.showProgress(s.flags.progress, func(fileLast bool) (string, string) {
		now := s.monitor.Snapshot()
		return string(now.Phase), progressText(s.ref, now, fileLast)
	})
}

// showProgress begins to show a scan, unless --quiet was given. The caller must stop it.
func (a *app) showProgress(mode string, look look) *progress {
	if a.quiet {
		mode = "none"
	}
	return startProgress(a.console, progressMode(mode), look)
}

func (s *session) close() error {
	if s.image == nil {
		return nil
	}
	return s.image.Close()
}

// timeoutError says that --timeout passed, and what was going on then.
type timeoutError struct {
	ref   string
	limit time.Duration
	at    scan.Snapshot
}

func (e *timeoutError) Error() string {
	doing := progressText(e.ref, e.at, false)
	for _, a := range e.at.Active {
		doing += fmt.Sprintf("; reading layer %d, entry %s", a.Layer, countText(a.Entries))
		if a.Path != "" {
			doing += ", file " + printable(a.Path)
		}
	}
	return fmt.Sprintf("%s was not done after %s (--timeout). It was at: %s", e.ref, e.limit, doing)
}

// causeOf replaces the error of work that was told to stop by the reason for stopping.
func causeOf(ctx context.Context, err error) error {
	var timeout *timeoutError
	if err != nil && errors.As(context.Cause(ctx), &timeout) {
		return timeout
	}
	return err
}
