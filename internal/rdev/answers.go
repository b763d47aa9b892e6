package rdev

import (
	"path/filepath"
	"time"
)

// ProjectList is the answer to who asks for projects.
type ProjectList struct {
	Projects []Project `json:"projects"`
	// Problem says why some are missing, for instance because the cluster does not answer.
	Problem string `json:"problem,omitempty"`
}

// CommandList is one page of commands, newest first.
type CommandList struct {
	Commands []Command `json:"commands"`
	// Next is the [Filter.After] of the next page; empty is that there is none.
	Next string `json:"next,omitempty"`
}

// KeyList has all keys.
type KeyList struct {
	Keys []Key `json:"keys"`
}

// The actions of an audit entry.
const (
	ActionRun    = "run"
	ActionCancel = "cancel"
	ActionKey    = "key.create"
	ActionRotate = "key.rotate"
	ActionRevoke = "key.revoke"
)

// AuditEntry says who did what.
type AuditEntry struct {
	// ID grows by time.
	ID     int64     `json:"id"`
	Time   time.Time `json:"time"`
	By     string    `json:"by"`
	Action string    `json:"action"`
	// From is the address that the request came from, or "socket".
	From string `json:"from"`
	// Project and Command are what it was about; Key is the name of a key.
	Project string `json:"project,omitempty"`
	Command string `json:"command,omitempty"`
	Key     string `json:"key,omitempty"`
	// Detail is the beginning of the command line, or what a key may do.
	Detail string `json:"detail,omitempty"`
}

// AuditPage is one page of the audit log, newest first.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	// Next is the ID before which the next page begins; 0 is that there is none.
	Next int64 `json:"next,omitempty"`
}

// Socket is where rdev-api listens for commands of the same machine unless it is told otherwise; "" where there is
// no place for it.
func Socket(uid int, runtimeDir string) string {
	switch {
	case uid == 0:
		return "/run/stella/rdev-api.sock"
	case runtimeDir == "":
		return ""
	}
	return filepath.Join(runtimeDir, "stella", "rdev-api.sock")
}
