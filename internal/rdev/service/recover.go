package service

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/store"
)

// takeOver makes the commands this process's own, ends those that an earlier one had begun, and queues those that waited.
func (s *Service) takeOver(ctx context.Context) error {
	var begun []string
	err := kind(s.db.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Get(ctx, `UPDATE rdev_state SET owner = owner + 1 RETURNING owner`, nil, &s.owner); err != nil {
			return err
		}
		begun = nil
		err := tx.Each(ctx, `SELECT id FROM rdev_commands WHERE status = 'running' ORDER BY id`, nil, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			begun = append(begun, id)
			return err
		})
		if err != nil {
			return err
		}
		s.queue = newQueue()
		return tx.Each(ctx, `SELECT id, asked_by, project, memory FROM rdev_commands WHERE status = 'queued' ORDER BY id`, nil, func(rows *sql.Rows) error {
			var w waiting
			err := rows.Scan(&w.id, &w.caller, &w.project, &w.memory)
			w.memory = min(w.memory, s.limits.TotalMemory) // what is above, with lower limits now, would wait for ever
			s.queue.add(w)
			return err
		})
	}))
	if err != nil {
		return err
	}
	for _, id := range begun {
		if err := s.lose(ctx, id); err != nil {
			return err
		}
	}
	if n := s.queue.len(); n > 0 {
		s.log.Info("commands that wait from before go on", "commands", n)
	}
	return nil
}

// lose ends a command that an earlier process had begun: as its log says, where that was ended, and else as lost.
func (s *Service) lose(ctx context.Context, id string) error {
	end, output := s.endOfLog(id)
	var c rdev.Command
	err := s.write(ctx, func(tx *store.Tx) (err error) {
		c, err = find(ctx, tx, "", id, "")
		if err != nil {
			return err
		}
		request, err := whole(ctx, tx, id)
		if err != nil {
			return err
		}
		c.Status, c.End, c.Output, c.Finished = rdev.Ended, &end, output, s.now()
		if end.OOM != nil { // nobody else uses the database yet
			s.o.Killed(c)
		}
		return s.record(ctx, tx, c, request.Webhook)
	})
	if err == nil {
		s.announce(c)
	}
	return err
}

// endOfLog is the end that a log has, or is given here. A log that cannot be read, because its file was being made, keeps nobody
// from starting the service.
func (s *Service) endOfLog(id string) (rdev.End, rdev.Output) {
	lost := rdev.End{Reason: rdev.ReasonLost, ExitCode: -1, Detail: "the service ended while it ran, and how it went on is not known; what was left of it was ended when the service began again"}
	log, err := s.o.Logs.Log(id)
	if err != nil {
		lost.Detail = "the service ended while it was being started"
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Error("the log of a command that was lost cannot be read", "command", id, "error", err)
			lost.Detail = "the service ended while it ran, or was being started; its output cannot be read"
		}
		return lost, rdev.Output{}
	}
	err = log.End(lost)
	state := log.State()
	if !errors.Is(err, outlog.ErrEnded) {
		if err != nil {
			s.log.Error("the log of a command that was lost cannot be ended", "command", id, "error", err)
		}
		return lost, state.Output
	}
	at, err := log.Read(state.Last, make([]byte, outlog.MinBuffer), func(outlog.Record) bool { return true })
	if err != nil || at.End == nil {
		s.log.Error("the end that the log of a command has cannot be read", "command", id, "error", err)
		return lost, state.Output
	}
	return *at.End, state.Output
}
