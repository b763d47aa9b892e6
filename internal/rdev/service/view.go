package service

import (
	"context"
	"database/sql"
	"fmt"
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
	return c, nil
}

// Commands lists one page of commands, newest first.
func (s *Service) Commands(ctx context.Context, f rdev.Filter) (rdev.CommandList, error) {
	var list rdev.CommandList
	query, args, err := listing(f)
	if err != nil {
		return list, err
	}
	var found int // those of the page, and one more if there is one
	err = s.read(ctx, func(tx *store.Tx) error {
		list.Commands = []rdev.Command{}
		return tx.Each(ctx, query, args, func(rows *sql.Rows) error {
			var r row
			if err := rows.Scan(append(r.fields(), &found)...); err != nil {
				return err
			}
			c, err := r.command()
			list.Commands = append(list.Commands, c)
			return err
		})
	})
	if err != nil {
		return rdev.CommandList{}, err
	}
	for i := range list.Commands {
		s.complete(&list.Commands[i])
	}
	if n := len(list.Commands); n < found {
		list.Next = list.Commands[n-1].ID
	}
	return list, nil
}

// listing is the query for a filter. A page has what is told of its requests in memory, so that is summed up: the newest is
// always told. Behind its columns each row has how many there were to choose from, one more than the page has at most.
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
	n := len(args)
	page += fmt.Sprintf(` ORDER BY id DESC LIMIT $%d + 1`, n-1)
	return fmt.Sprintf(`SELECT %s, found FROM (
			SELECT p.*, count(*) OVER () AS found, sum(p.size) OVER (ORDER BY p.id DESC) - p.size AS before FROM (%s) p
		) q WHERE before < $%d ORDER BY id DESC LIMIT $%d`, columns, page, n, n-1), args, nil
}

// complete adds to a command what the database does not know: its place, what it has printed until now, or that this is gone.
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
	c.Output.Gone = c.Status == rdev.Ended && c.Output.Last > 0 && !s.o.Logs.Has(c.ID)
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
