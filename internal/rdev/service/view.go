package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"stella/internal/rdev"
	"stella/internal/store"
)

// Command finds a command of a project.
func (s *Service) Command(ctx context.Context, project, id string) (c rdev.Command, err error) {
	err = s.read(ctx, func(tx *store.Tx) error {
		c, err = find(ctx, tx, project, id, "")
		return err
	})
	if err != nil {
		return c, err
	}
	s.complete(&c)
	if c.Status == rdev.Ended && c.Output.Last > 0 {
		_, err := s.o.Logs.Log(c.ID)
		c.Output.Gone = errors.Is(err, fs.ErrNotExist)
	}
	return c, nil
}

// Commands lists commands, newest first. Whether their outputs are still there is not looked for.
func (s *Service) Commands(ctx context.Context, f rdev.Filter) ([]rdev.Command, error) {
	query, args, err := listing(f)
	if err != nil {
		return nil, err
	}
	var all []rdev.Command
	err = s.read(ctx, func(tx *store.Tx) error {
		all = []rdev.Command{}
		return each(ctx, tx, query, args, func(c rdev.Command) error {
			all = append(all, c)
			return nil
		})
	})
	for i := range all {
		s.complete(&all[i])
	}
	return all, err
}

// listing is the query for a filter. A page has what is told of its requests in memory, so that is summed up: the newest is
// always told.
func listing(f rdev.Filter) (query string, args []any, err error) {
	if f.Limit < 0 || f.Limit > rdev.MaxPage {
		return "", nil, rdev.Errorf(rdev.ErrInvalid, "a page of %d commands: at most %d", f.Limit, rdev.MaxPage)
	}
	var conditions []string
	add := func(format string, value any) {
		args = append(args, value)
		conditions = append(conditions, strings.ReplaceAll(format, "?", fmt.Sprintf("$%d", len(args))))
	}
	if f.Project != "" {
		add("project = ?", f.Project)
	}
	switch f.Status {
	case "":
	case rdev.Queued, rdev.Running, rdev.Ended:
		add("status = ?", string(f.Status))
	default:
		return "", nil, rdev.Errorf(rdev.ErrInvalid, "%.40q is no status of a command: choose queued, running or ended", f.Status)
	}
	if f.By != "" {
		add("asked_by = ?", f.By)
	}
	if !f.Since.IsZero() {
		add("(created > ? OR finished > ? OR finished = 0)", f.Since.UnixMicro())
	}
	if f.After != "" {
		add("id < ?", f.After)
	}
	page := `SELECT ` + columns + `, size FROM rdev_commands` // not the whole requests
	if len(conditions) > 0 {
		page += ` WHERE ` + strings.Join(conditions, ` AND `)
	}
	limit := f.Limit
	if limit == 0 {
		limit = rdev.MaxPage
	}
	args = append(args, limit, rdev.MaxPageBytes)
	page += fmt.Sprintf(` ORDER BY id DESC LIMIT $%d`, len(args)-1)
	return fmt.Sprintf(`SELECT %s FROM (SELECT p.*, sum(p.size) OVER (ORDER BY p.id DESC) - p.size AS before FROM (%s) p) q WHERE before < $%d ORDER BY id DESC`,
		columns, page, len(args)), args, nil
}

// complete adds to a command what the database does not know: its place, or what it has printed until now.
func (s *Service) complete(c *rdev.Command) {
	s.mu.Lock()
	a := s.running[c.ID]
	if c.Place = 0; c.Status == rdev.Queued {
		c.Place = s.queue.places()[c.ID]
	}
	s.mu.Unlock()
	if c.Status == rdev.Running && a != nil {
		c.Output = (&Log{a.log}).State().Output
	}
}

// Counts are for metrics and for whether the service is ready.
type Counts struct {
	Queued, Running int
	// Reserved of Memory are the limits of the commands that run, in bytes.
	Reserved, Memory int64
	// Stopping says that no command is taken in any more.
	Stopping bool
}

// Counts counts what is there now.
func (s *Service) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{
		Queued: s.queue.len(), Running: len(s.running), Reserved: s.ledger.reserved, Memory: s.ledger.total,
		Stopping: s.stopping || s.replaced,
	}
}
