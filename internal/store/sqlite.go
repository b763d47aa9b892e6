package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

const (
	// readers is how many transactions read at once. Each has a connection with a
	// page cache; reads are short.
	readers = 2
	// writerCache and readerCache are the page caches of a connection in KiB. Most of
	// what is looked up is new: a small cache has it, and the kernel has the rest.
	writerCache, readerCache = 2048, 1024
	// maxStatements bounds the prepared statements of a connection, some KiB each.
	// There are about 100 different texts; what is above is prepared each time.
	maxStatements = 200
)

// pragmas of every connection. An auto-checkpoint begins at 1000 pages, so a
// write-ahead log above that (one large result) is cut back to 8 MiB afterwards.
var pragmas = url.Values{"_pragma": {
	"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "journal_size_limit(8388608)",
}, "_txlock": {"immediate"}}

// sqliteBackend has one session that writes and a few that read. SQLite would make
// a second writer wait as well, but by polling.
type sqliteBackend struct {
	pool    *sql.DB
	lock    *os.File
	writer  chan *session
	readers chan *session
	closed  chan struct{}
	once    sync.Once
}

// errClosed is the error of a transaction after Close.
var errClosed = errors.New("it was closed")

func openSQLite(ctx context.Context, path string, o Options) (_ *DB, err error) {
	if path == "" {
		return nil, errors.New("the URL of the database names no file: write it as sqlite:PATH")
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	lock, err := lockFile(ctx, path, o)
	if err != nil {
		return nil, err
	}
	file := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: pragmas.Encode()}
	pool, err := sql.Open("sqlite", file.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), lock.Close())
	}
	b := &sqliteBackend{pool: pool, lock: lock, writer: make(chan *session, 1), readers: make(chan *session, readers), closed: make(chan struct{})}
	b.writer <- &session{pool: pool, setup: fmt.Sprintf("PRAGMA cache_size = -%d", writerCache)}
	for range readers {
		b.readers <- &session{pool: pool, setup: fmt.Sprintf("PRAGMA cache_size = -%d; PRAGMA query_only = 1", readerCache)}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	// SQLite would make it readable for everybody; the write-ahead log gets the file's mode.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	f.Close()
	db := &DB{dialect: sqliteDialect, name: path, log: o.Log, pool: pool, backend: b}
	// What is no database, or has been cut, shows itself when the schema is read.
	return db, db.Write(ctx, func(tx *Tx) error {
		var tables int
		_, err := tx.Get(ctx, "SELECT count(*) FROM sqlite_schema", nil, &tables)
		return err
	})
}

func (b *sqliteBackend) begin(ctx context.Context, write bool) (transaction, error) {
	from, begin := b.readers, "BEGIN"
	if write {
		from, begin = b.writer, "BEGIN IMMEDIATE"
	}
	select {
	case s := <-from:
		t := &sqliteTx{session: s, home: from}
		if err := s.begin(ctx, begin); err != nil {
			s.drop()
			from <- s
			return nil, err
		}
		return t, nil
	case <-b.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *sqliteBackend) close() (err error) {
	b.once.Do(func() {
		close(b.closed)
		for range cap(b.writer) {
			(<-b.writer).drop()
		}
		for range cap(b.readers) {
			(<-b.readers).drop()
		}
		// The lock after the database: who has it has the file alone.
		err = errors.Join(b.pool.Close(), b.lock.Close())
	})
	return err
}

// session is a connection that keeps its prepared statements. The connection is made when it is first used.
type session struct {
	pool  *sql.DB
	setup string
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

func (s *session) begin(ctx context.Context, text string) error {
	if s.conn == nil {
		conn, err := s.pool.Conn(ctx)
		if err != nil {
			return err
		}
		s.conn, s.stmts = conn, map[string]*sql.Stmt{}
		if _, err := conn.ExecContext(ctx, s.setup); err != nil {
			return err
		}
	}
	_, err := s.exec(ctx, text)
	return err
}

// drop closes the connection, whatever state it is in.
func (s *session) drop() {
	if s.conn == nil {
		return
	}
	for _, stmt := range s.stmts {
		stmt.Close()
	}
	// Bad connections are closed, not given back to the pool.
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	s.conn.Close()
	s.conn, s.stmts = nil, nil
}

// prepared returns a statement, nil for one too many.
func (s *session) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt, ok := s.stmts[text]; ok || len(s.stmts) == maxStatements {
		return stmt, nil
	}
	stmt, err := s.conn.PrepareContext(ctx, text)
	if err == nil {
		s.stmts[text] = stmt
	}
	return stmt, err
}

func (s *session) exec(ctx context.Context, text string, args ...any) (sql.Result, error) {
	stmt, err := s.prepared(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case stmt == nil:
		return s.conn.ExecContext(ctx, text, args...)
	}
	return stmt.ExecContext(ctx, args...)
}

// sqliteTx is a transaction of a session, which it returns at its end.
type sqliteTx struct {
	*session
	home  chan<- *session
	ended bool
}

func (t *sqliteTx) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	return t.exec(ctx, text, args...)
}

func (t *sqliteTx) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	stmt, err := t.prepared(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case stmt == nil:
		return t.conn.QueryContext(ctx, text, args...)
	}
	return stmt.QueryContext(ctx, args...)
}

func (t *sqliteTx) Commit() error   { return t.end("COMMIT") }
func (t *sqliteTx) Rollback() error { return t.end("ROLLBACK") }

// end has no context: an interrupted COMMIT could have been kept all the same.
func (t *sqliteTx) end(text string) error {
	if t.ended {
		return nil
	}
	t.ended = true
	_, err := t.exec(context.Background(), text)
	if err != nil {
		t.drop() // a connection that is closed rolls back
	}
	t.home <- t.session
	return err
}
