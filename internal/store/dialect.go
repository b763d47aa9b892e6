package store

import "strings"

// dialect is what differs between the databases in the SQL; see the package's doc.
type dialect struct {
	name  string
	words *strings.Replacer
}

func (d *dialect) sql(text string) string { return d.words.Replace(text) }

var sqliteDialect = &dialect{"sqlite", strings.NewReplacer(
	"{id}", "INTEGER PRIMARY KEY AUTOINCREMENT",
	"{bytes}", "BLOB",
	"{now}", "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
	// There is one writer at a time.
	"{lock}", "",
	"{skip}", "",
	"{keep}", "",
)}

var postgresDialect = &dialect{"postgres", strings.NewReplacer(
	"{id}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
	"{bytes}", "BYTEA",
	// now() would be the beginning of the transaction, before it waited for locks;
	// clock_timestamp() may differ from row to row, so indexes do not serve it.
	"{now}", "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT)",
	"{lock}", "FOR UPDATE",
	"{skip}", "FOR UPDATE SKIP LOCKED",
	"{keep}", "FOR KEY SHARE",
)}
