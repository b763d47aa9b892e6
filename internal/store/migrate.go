package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/pressly/goose/v3"
)

// Step is a migration that statements alone cannot do. It is kept as a whole or not at all.
type Step struct {
	Version int64
	Run     func(ctx context.Context, tx *Tx) error
}

// Migrate brings a component's tables to the newest version that it knows. Its
// migrations are the files NUMBER_NAME.sql of fsys, statements in the words of this
// package's doc, and the steps, which have other numbers; each is kept as a whole or not at all. table keeps the
// version, one for each component. Processes that share the database take turns.
//
// A database with a higher version than the migrations matches [ErrNewer], and is left as it is.
func (db *DB) Migrate(ctx context.Context, fsys fs.FS, table string, steps ...Step) error {
	options := []goose.ProviderOption{goose.WithTableName(table), goose.WithDisableGlobalRegistry(true)}
	migrations, err := db.migrations(fsys, steps)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", table, err)
	}
	options = append(options, goose.WithGoMigrations(migrations...))
	dialect := goose.DialectSQLite3
	if db.dialect == postgresDialect {
		dialect = goose.DialectPostgres
		options = append(options, goose.WithSessionLocker(turns{}))
	}
	provider, err := goose.NewProvider(dialect, db.pool, nil, options...)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", table, err)
	}
	// Does nothing to a newer database. It comes first, because it alone takes turns.
	done, err := provider.Up(ctx)
	if err != nil {
		return db.migrationError(ctx, table, err)
	}
	have, known, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return db.migrationError(ctx, table, err)
	case have > known:
		return &Error{Kind: ErrNewer, Database: db.name, Advice: fmt.Sprintf(
			"%s is at version %d, and this program knows up to %d: start the newer version, or restore a backup made before it ran", table, have, known)}
	case len(done) > 0:
		db.log.Info("database schema changed", "database", db.name, "schema", table, "version", known)
	}
	return nil
}

func (db *DB) migrationError(ctx context.Context, table string, err error) error {
	return fmt.Errorf("bring %s up to date: %w", table, db.classify(ctx, err))
}

// migrations makes one of each file and of each step.
func (db *DB) migrations(fsys fs.FS, steps []Step) ([]*goose.Migration, error) {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("there are none")
	}
	var all []*goose.Migration
	for _, name := range names {
		version, err := goose.NumericComponent(path.Base(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		statements := db.dialect.sql(string(text))
		all = append(all, goose.NewGoMigration(version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, statements)
			return err
		}}, nil))
	}
	for _, step := range steps {
		all = append(all, goose.NewGoMigration(step.Version, &goose.GoFunc{RunTx: func(ctx context.Context, tx *sql.Tx) error {
			return step.Run(ctx, &Tx{db: db, t: tx})
		}}, nil))
	}
	return all, nil
}

// turns makes processes migrate one after the other. Goose's own locker asks once
// a second; this one waits in the server.
type turns struct{}

// turnsLock is a number that no other program's advisory locks on this database should have: "stella".
const turnsLock = 0x7374656c6c61

func (turns) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", turnsLock)
	return err
}

func (turns) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", turnsLock)
	return err
}
