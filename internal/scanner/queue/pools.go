package queue

import (
	"context"
	"database/sql"

	"stella/internal/scanner"
	"stella/internal/store"
)

// Pools returns all pools: default, whose memory and count are settings, and then
// the others by name.
func (q *Queue) Pools(ctx context.Context) (all []scanner.Pool, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		all, err = pools(ctx, tx)
		return err
	})
	return all, err
}

func pools(ctx context.Context, tx *store.Tx) ([]scanner.Pool, error) {
	s, _, err := settings(ctx, tx)
	if err != nil {
		return nil, err
	}
	var all []scanner.Pool
	err = tx.Each(ctx, `SELECT name, memory, count, generation FROM pools ORDER BY name <> 'default', name`, nil, func(rows *sql.Rows) error {
		var p scanner.Pool
		err := rows.Scan(&p.Name, &p.Memory, &p.Count, &p.Generation)
		if p.Name == scanner.DefaultPool {
			p.Memory, p.Count = s.WorkerMemory, s.WorkerCount
		}
		all = append(all, p)
		return err
	})
	return all, err
}

// PutPool adds a pool, or changes its memory and count; workers that run keep
// what they have until [Queue.RestartPools]. The pool default is changed by settings: [scanner.ErrConflict].
func (q *Queue) PutPool(ctx context.Context, p scanner.Pool) (scanner.Pool, error) {
	if p.Name == scanner.DefaultPool {
		return p, scanner.Errorf(scanner.ErrConflict, "the pool default is made by settings: change worker.memory_limit and worker.count")
	}
	if err := p.Check(0); err != nil {
		return p, scanner.Errorf(scanner.ErrInvalid, "%w", err)
	}
	err := q.write(ctx, func(tx *store.Tx) error {
		if err := takeTurn(ctx, tx); err != nil {
			return err
		}
		var others int
		if _, err := tx.Get(ctx, `SELECT count(*) FROM pools WHERE name <> $1`, []any{p.Name}, &others); err != nil {
			return err
		}
		if others >= scanner.MaxPools {
			return scanner.Errorf(scanner.ErrConflict, "there are %d pools, and no more are allowed: remove one first", others)
		}
		_, err := tx.Get(ctx, `INSERT INTO pools (name, memory, count, generation) VALUES ($1, $2, $3, 0)
			ON CONFLICT (name) DO UPDATE SET memory = excluded.memory, count = excluded.count RETURNING generation`,
			[]any{p.Name, p.Memory, p.Count}, &p.Generation)
		return err
	})
	return p, err
}

// RemovePool removes a pool; what waits for it waits for default from now on. The
// pool default stays: [scanner.ErrConflict].
func (q *Queue) RemovePool(ctx context.Context, name string) error {
	if name == scanner.DefaultPool {
		return scanner.Errorf(scanner.ErrConflict, "the pool default cannot be removed")
	}
	return q.write(ctx, func(tx *store.Tx) error {
		if err := takeTurn(ctx, tx); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM pools WHERE name = $1`, name)
		if err != nil {
			return err
		}
		if n == 0 {
			return noPool(name)
		}
		_, err = tx.Exec(ctx, `UPDATE jobs SET pool = 'default' WHERE pool = $1 AND status = 'pending'`, name)
		return err
	})
}

func noPool(name string) error {
	return scanner.Errorf(scanner.ErrNotFound, "there is no pool %q", name)
}

// RestartPools asks all instances to restart the workers of a pool, or of all pools for "".
func (q *Queue) RestartPools(ctx context.Context, name string) error {
	return q.write(ctx, func(tx *store.Tx) error {
		if err := takeTurn(ctx, tx); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE pools SET generation = generation + 1 WHERE name = $1 OR $1 = ''`, name)
		if err == nil && n == 0 {
			err = noPool(name)
		}
		return err
	})
}
