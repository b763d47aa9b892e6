package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// What an error of the database can be, for errors.Is.
var (
	ErrCorrupt     = errors.New("the database is damaged")
	ErrNewer       = errors.New("the database has been used by a newer version")
	ErrLocked      = errors.New("the database is in use by another process")
	ErrFull        = errors.New("the disk of the database is full")
	ErrUnavailable = errors.New("the database does not answer")
)

// errTooLong is the cause of a context that [maxTransaction] ended.
var errTooLong = fmt.Errorf("not done after %v", maxTransaction)

// Error is an error of the database, of one of these kinds. Its text names the
// database, and says what to do where that is known.
type Error struct {
	Kind     error
	Database string
	Advice   string
	Cause    error // may be nil
}

// Error says what is wrong with which database, why, and what to do.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %v", e.Database, e.Kind)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	if e.Advice != "" {
		text += "; " + e.Advice
	}
	return text
}

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// classify says what an error of the driver is. Where the caller ended the
// context, that is the error.
func (db *DB) classify(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errTooLong):
		return &Error{Kind: ErrUnavailable, Database: db.name, Cause: cause}
	case cause != nil:
		return fmt.Errorf("%s: %w", db.name, cause)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return db.classifySQLite(e)
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return db.classifyPostgres(e)
	}
	if db.dialect == postgresDialect {
		// The driver's other errors are about the connection: it cannot be made, or broke.
		return &Error{Kind: ErrUnavailable, Database: db.name, Cause: err}
	}
	return fmt.Errorf("%s: %w", db.name, err)
}

// classifySQLite goes by the primary code, sqlite.org/rescode.html.
func (db *DB) classifySQLite(err *sqlite.Error) error {
	e := &Error{Database: db.name, Cause: err}
	code := err.Code() & 0xff
	if err.Code() == sqlite3.SQLITE_IOERR_SHMSIZE { // no room for the index of the write-ahead log
		code = sqlite3.SQLITE_FULL
	}
	switch code {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		e.Kind = ErrCorrupt
		e.Advice = fmt.Sprintf("the file is left as it is; to go on, restore a backup of it, or save what can be read with: sqlite3 %[1]s .recover | sqlite3 NEW; or move %[1]s, %[1]s-wal and %[1]s-shm away, to begin with an empty one", db.name)
	case sqlite3.SQLITE_FULL:
		e.Kind, e.Advice = ErrFull, "nothing that was acknowledged is lost; make room, and it goes on"
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		e.Kind, e.Advice = ErrUnavailable, "another program, such as sqlite3, has locked it"
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		e.Kind = ErrUnavailable
	default:
		return fmt.Errorf("%s: %w", db.name, err)
	}
	return e
}

// PostgreSQL's error codes, postgresql.org/docs/current/errcodes-appendix.html.
const (
	pgSerialization  = "40001"
	pgDeadlock       = "40P01"
	pgUnique         = "23505"
	pgIdle           = "25P03"
	pgDiskFull       = "53100"
	pgDataCorrupted  = "XX001"
	pgIndexCorrupted = "XX002"
	// classes
	pgConnection = "08"
	pgResources  = "53"
	pgOperator   = "57" // shut down, or starting
	pgSystem     = "58" // input and output
)

func (db *DB) classifyPostgres(err *pgconn.PgError) error {
	e := &Error{Database: db.name, Cause: err}
	switch err.Code {
	case pgIdle:
		e.Kind, e.Advice = ErrUnavailable, "this process, or the network, stood still for too long"
		return e
	case pgDiskFull:
		e.Kind, e.Advice = ErrFull, "make room on the server of the database, and it goes on"
		return e
	case pgDataCorrupted, pgIndexCorrupted:
		e.Kind, e.Advice = ErrCorrupt, "see the server's log; restore a backup"
		return e
	}
	switch err.Code[:min(2, len(err.Code))] {
	case pgConnection, pgResources, pgOperator, pgSystem:
		e.Kind = ErrUnavailable
		return e
	}
	return fmt.Errorf("%s: %w", db.name, err)
}

// inTheWay reports whether PostgreSQL ended a transaction for the sake of another,
// or another has just added the row that this one looked for in vain.
func inTheWay(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == pgSerialization || e.Code == pgDeadlock || e.Code == pgUnique)
}
