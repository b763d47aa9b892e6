package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"stella/internal/rdev"
	"stella/internal/store"
)

func (s *Service) read(ctx context.Context, f func(*store.Tx) error) error {
	return kind(s.db.Read(ctx, f))
}

// write runs f unless another process has the database now.
func (s *Service) write(ctx context.Context, f func(*store.Tx) error) error {
	return kind(s.db.Write(ctx, func(tx *store.Tx) error {
		var owner int64
		if _, err := tx.Get(ctx, `SELECT owner FROM rdev_state {lock}`, nil, &owner); err != nil {
			return err
		}
		if owner != s.owner {
			return ErrReplaced
		}
		return f(tx)
	}))
}

// kind makes what may pass by itself an error of the service's kind.
func kind(err error) error {
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFull) {
		return rdev.Errorf(rdev.ErrUnavailable, "%w", err).After(retry)
	}
	return err
}

// newID makes an ID that is higher than all before: the time in microseconds, or one more than the last where the clock
// stands still or goes back. It is kept or forgotten with the command in tx.
func newID(ctx context.Context, tx *store.Tx, now time.Time) (string, error) {
	var number int64
	_, err := tx.Get(ctx, `UPDATE rdev_state SET number = CASE WHEN number >= $1 THEN number + 1 ELSE $1 END RETURNING number`,
		[]any{now.UnixMicro()}, &number)
	return formatID(number), err
}

// digits sort as their values do, in bytes and so in every collation that is used here, and leave out what people confuse.
const digits = "0123456789abcdefghjkmnpqrstvwxyz"

// idLength is enough digits for a number of 63 bits.
const idLength = 13

func formatID(n int64) string {
	var text [idLength]byte
	for i := idLength - 1; i >= 0; i-- {
		text[i] = digits[n&31]
		n >>= 5
	}
	return string(text[:])
}

// row is a row of the table rdev_commands, without the whole request.
type row struct {
	rdev.Command
	shown, ending, output      string
	created, started, finished int64
}

// columns are what fields scans, in the same order.
const columns = `id, project, asked_by, status, shown, created, started, finished, ending, output`

func (r *row) fields() []any {
	return []any{&r.ID, &r.Project, &r.By, &r.Status, &r.shown, &r.created, &r.started, &r.finished, &r.ending, &r.output}
}

// command is the command as the database knows it.
func (r *row) command() (rdev.Command, error) {
	c := r.Command
	c.Created, c.Started, c.Finished = moment(r.created), moment(r.started), moment(r.finished)
	err := json.Unmarshal([]byte(r.shown), &c.Request)
	if r.ending != "" && err == nil {
		c.End = new(rdev.End)
		err = json.Unmarshal([]byte(r.ending), c.End)
	}
	if r.output != "" && err == nil {
		err = json.Unmarshal([]byte(r.output), &c.Output)
	}
	if err != nil {
		return c, fmt.Errorf("command %s in the database: %w", r.ID, err)
	}
	return c, nil
}

// moment is a time of the database; 0 is none.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// find reads a command of a project, or of any where that is empty.
func find(ctx context.Context, tx *store.Tx, project, id, ending string) (rdev.Command, error) {
	var r row
	found, err := tx.Get(ctx, `SELECT `+columns+` FROM rdev_commands WHERE id = $1 AND ($2 = '' OR project = $2)`+ending, []any{id, project}, r.fields()...)
	if err != nil {
		return rdev.Command{}, err
	}
	if !found {
		return rdev.Command{}, noCommand(project, id)
	}
	return r.command()
}

func noCommand(project, id string) error {
	return rdev.Errorf(rdev.ErrNotFound, "there is no command %.40q in project %.100q, or it ended so long ago that it has been removed", id, project)
}

// insert adds a queued command and its whole request.
func insert(ctx context.Context, tx *store.Tx, c rdev.Command, whole rdev.Request, key any, digest []byte) error {
	shown, err := json.Marshal(c.Request)
	if err != nil {
		return err
	}
	request, err := json.Marshal(whole)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO rdev_commands (id, project, asked_by, status, shown, size, request, memory, same_key, digest, created, started, finished, ending, output)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, '', '')`,
		c.ID, c.Project, c.By, string(c.Status), string(shown), len(shown), string(request), whole.Memory, key, digest, c.Created.UnixMicro())
	return err
}

// finish writes down the end of a command that has not ended, and reports whether it had not. What was secret goes.
func finish(ctx context.Context, tx *store.Tx, c rdev.Command) (bool, error) {
	ending, err := json.Marshal(c.End)
	if err != nil {
		return false, err
	}
	output, err := json.Marshal(c.Output)
	if err != nil {
		return false, err
	}
	n, err := tx.Exec(ctx, `UPDATE rdev_commands SET status = 'ended', finished = $2, ending = $3, output = $4, request = '' WHERE id = $1 AND status <> 'ended'`,
		c.ID, c.Finished.UnixMicro(), string(ending), string(output))
	return n > 0, err
}

// whole reads the request of a command that has not ended.
func whole(ctx context.Context, tx *store.Tx, id string) (r rdev.Request, err error) {
	var text string
	if _, err := tx.Get(ctx, `SELECT request FROM rdev_commands WHERE id = $1`, []any{id}, &text); err != nil {
		return r, err
	}
	if text == "" {
		return r, rdev.Errorf(rdev.ErrConflict, "command %s has ended already", id)
	}
	return r, json.Unmarshal([]byte(text), &r)
}

// sameKey is what a repetition of a request is found by: each caller has keys of its own.
func sameKey(caller, key string) any {
	if key == "" {
		return nil
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %s", len(caller), caller, key)
	return hex.EncodeToString(h.Sum(nil))
}

// digest is of a request in a project; json.Marshal writes the environment in the order of its names.
func digest(project string, r rdev.Request) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %s", project, text)
	return h.Sum(nil), nil
}
