// Package store keeps what must not be lost in one database: a SQLite file, or a
// PostgreSQL server that several processes share.
//
// Words: a transaction is a function that [DB.Write] or [DB.Read] runs; what it
// wrote is on disk when Write has returned nil, and none of it otherwise. SQL is
// written once for both databases, with $1 for arguments; words in braces stand for what
// differs between them:
//
//	{id}     type of a key that the database numbers, ascending, never used twice
//	{bytes}  type of binary columns
//	{now}    the database's time, in microseconds since 1970
//	{lock}   at the end of a SELECT: nobody else changes these rows before this transaction ends
//	{skip}   the same, without rows that another transaction has locked
//	{keep}   at the end of a SELECT: nobody removes these rows before this transaction ends
//
// Columns of whole numbers are BIGINT, and times are microseconds since 1970, in UTC.
//
// Hazards:
//
//   - The function of a transaction may run more than once, because PostgreSQL ends
//     one of two transactions that wait for each other; it must not change what is
//     outside before the database has.
//   - An error of Write after the connection was lost does not say whether the
//     transaction was kept. Callers that try again must find what they wrote.
//   - SQLite has one writer: a transaction that waits for something else than the
//     database makes all others wait. A read transaction that stays open makes
//     the write-ahead log grow, so answers to clients are not streamed out of one.
//   - Write-ahead logs need shared memory: the SQLite file must be on a local disk.
package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

const (
	// maxTransaction bounds a transaction, and the wait for its turn, so that a
	// server that is gone without a word (a network that drops packets) is an error in the end.
	maxTransaction = 30 * time.Second
	// maxTries bounds how often a transaction runs that got in the way of another.
	// Two that wait for each other are resolved by the first repetition.
	maxTries = 10
)

// Options say which database to open.
type Options struct {
	// URL is sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/NAME.
	URL string
	// Wait is how long to wait while another process has the database, where only one can have it (SQLite); some seconds at least.
	Wait time.Duration
	// Log gets a line for each migration, and one where Wait is needed.
	Log *slog.Logger
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dialect *dialect
	name    string // for messages, without secrets
	log     *slog.Logger
	pool    *sql.DB
	backend backend
}

// backend begins transactions, each of which holds a connection until its end.
type backend interface {
	begin(ctx context.Context, write bool) (transaction, error)
	close() error
}

// transaction is what *sql.Tx is.
type transaction interface {
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
	Commit() error
	Rollback() error
}

// Open opens a database; a SQLite file that does not exist is made, in a directory
// that does. Its error matches [ErrLocked], [ErrCorrupt] or [ErrUnavailable] where it is about that.
func Open(ctx context.Context, o Options) (*DB, error) {
	if path, ok := strings.CutPrefix(o.URL, "sqlite:"); ok {
		return openSQLite(ctx, path, o)
	}
	if strings.HasPrefix(o.URL, "postgres://") || strings.HasPrefix(o.URL, "postgresql://") {
		return openPostgres(ctx, o.URL, o.Log)
	}
	scheme, _, _ := strings.Cut(o.URL, ":") // the rest may have a password
	return nil, fmt.Errorf("no database begins with %q: say sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/NAME", scheme)
}

// Dialect is "sqlite" or "postgres".
func (db *DB) Dialect() string { return db.dialect.name }

// Name is the file's path, or the server's address without the password.
func (db *DB) Name() string { return db.name }

// Close waits for the transactions that run, and gives back the lock of a SQLite file.
func (db *DB) Close() error {
	if err := db.backend.close(); err != nil {
		return fmt.Errorf("close database %s: %w", db.name, err)
	}
	return nil
}

// Write runs f in a transaction, and keeps what it wrote unless it returns an error.
func (db *DB) Write(ctx context.Context, f func(*Tx) error) error {
	return db.run(ctx, true, f)
}

// Read runs f in a transaction that sees the database as it is at one moment, and cannot write.
func (db *DB) Read(ctx context.Context, f func(*Tx) error) error {
	return db.run(ctx, false, f)
}

func (db *DB) run(ctx context.Context, write bool, f func(*Tx) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, maxTransaction, errTooLong)
	defer cancel()
	for try := 1; ; try++ {
		err := db.try(ctx, write, f)
		if !inTheWay(err) || try == maxTries {
			return err
		}
	}
}

func (db *DB) try(ctx context.Context, write bool, f func(*Tx) error) error {
	t, err := db.backend.begin(ctx, write)
	if err != nil {
		return db.classify(ctx, err)
	}
	// Also where f panics. After Commit it does nothing; its error adds nothing to that which led here.
	defer func() { _ = t.Rollback() }()
	if err := f(&Tx{db: db, t: t}); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return db.classify(ctx, err)
	}
	return nil
}
