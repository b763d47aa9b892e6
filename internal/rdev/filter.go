package rdev

import "time"

// Caller is who asks the service for something.
type Caller struct {
	// Name is for fairness, limits, logs and audit: "key ci", "uid 0".
	Name string
	// Local says that the caller could run commands here without the service: root, or the service's own user,
	// through the Unix socket.
	Local bool
}

// Filter chooses commands. Empty fields choose all.
type Filter struct {
	Project string
	Status  Status
	// By is who asked for them.
	By string
	// Since chooses those that were asked for, or ended, after it, and all that have not ended.
	Since time.Time
	// After chooses commands before the one with this ID: the last of one page begins the next.
	After string
	// Limit is the most commands, newest first; 1 to [MaxPage], and 0 is MaxPage.
	Limit int
}

// MaxPage is the most commands of one answer, and MaxPageBytes about how many bytes their requests may have
// together: a page ends early where these are long.
const (
	MaxPage      = 500
	MaxPageBytes = 4 << 20
)
