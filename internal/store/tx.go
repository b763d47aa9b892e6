package store

import (
	"context"
	"database/sql"
)

// Tx is a transaction that runs. It is used by one goroutine, and only until its
// function returns. Errors match the package's Err values where they are about that.
type Tx struct {
	db *DB
	t  transaction
}

// Exec runs a statement, and returns how many rows it changed.
func (tx *Tx) Exec(ctx context.Context, text string, args ...any) (int64, error) {
	result, err := tx.t.ExecContext(ctx, tx.db.dialect.sql(text), args...)
	if err != nil {
		return 0, tx.db.classify(ctx, err)
	}
	return result.RowsAffected()
}

// Get reads the first row of a query, and reports whether there was one.
func (tx *Tx) Get(ctx context.Context, text string, args []any, dest ...any) (bool, error) {
	found := false
	err := tx.Each(ctx, text, args, func(r *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	})
	return found, err
}

// Each calls f for every row of a query. f must not use the transaction.
func (tx *Tx) Each(ctx context.Context, text string, args []any, f func(*sql.Rows) error) error {
	rows, err := tx.t.QueryContext(ctx, tx.db.dialect.sql(text), args...)
	if err != nil {
		return tx.db.classify(ctx, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return tx.db.classify(ctx, err)
	}
	return nil
}
