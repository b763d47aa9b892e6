package logs_test

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"stella/internal/scanner/logs"
	"stella/internal/store"
)

func parseJSON(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// memoryLogs are for a fuzz target, whose inputs share them.
func memoryLogs(f *testing.F) (*logs.Logs, func()) {
	f.Helper()
	db, err := store.Open(f.Context(), store.Options{URL: "sqlite:" + filepath.Join(f.TempDir(), "db"), Log: silent})
	if err != nil {
		f.Fatal(err)
	}
	l, err := logs.Open(f.Context(), db, "fuzz", silent)
	if err != nil {
		f.Fatal(err)
	}
	return l, func() {
		l.Close()
		db.Close()
	}
}
