package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// maxConnections bounds what one process takes of a server's connections, 100 as a rule.
	maxConnections  = 8
	idleConnections = 4
	// connectTimeout is for a server that does not answer at all.
	connectTimeout = 5 * time.Second
	// idleTimeout is after how long the server ends a transaction in which nothing
	// happens. A process that is stopped, or cut off from the network, would else keep its
	// locks, and others could not take its jobs over.
	idleTimeout   = 3 * time.Second
	idleParameter = "idle_in_transaction_session_timeout"
)

// postgresBackend takes a connection for each transaction.
type postgresBackend struct{ pool *sql.DB }

func openPostgres(ctx context.Context, text string, log *slog.Logger) (*DB, error) {
	config, err := pgx.ParseConfig(text)
	if err != nil {
		// The driver's reason may quote a part of the password.
		return nil, fmt.Errorf("the URL of the database cannot be read: write it as postgres://USER:PASSWORD@HOST:PORT/NAME, with %%XX for each of :/?#[]@%% in the password, and parameters that PostgreSQL has")
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "stella"
	}
	if config.RuntimeParams[idleParameter] == "" {
		config.RuntimeParams[idleParameter] = strconv.FormatInt(idleTimeout.Milliseconds(), 10)
	}
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(maxConnections)
	pool.SetMaxIdleConns(idleConnections)
	db := &DB{dialect: postgresDialect, name: address(config), log: log, pool: pool, backend: postgresBackend{pool}}
	if err := db.Read(ctx, func(*Tx) error { return nil }); err != nil {
		pool.Close()
		return nil, err
	}
	return db, nil
}

// address is where the server is, as a URL without the password.
func address(c *pgx.ConnConfig) string {
	u := url.URL{Scheme: "postgres", User: url.User(c.User), Path: "/" + c.Database}
	port := strconv.Itoa(int(c.Port))
	if strings.HasPrefix(c.Host, "/") { // the directory of a socket
		u.RawQuery = url.Values{"host": {c.Host}, "port": {port}}.Encode()
	} else {
		u.Host = net.JoinHostPort(c.Host, port)
	}
	return u.String()
}

func (b postgresBackend) begin(ctx context.Context, write bool) (transaction, error) {
	if write {
		return b.pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	}
	return b.pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
}

func (b postgresBackend) close() error { return b.pool.Close() }
