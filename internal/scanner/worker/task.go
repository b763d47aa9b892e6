package worker

import (
	"path/filepath"
	"time"

	"stella/internal/scan/sbom"
	"stella/internal/scanner"
	"stella/internal/scanner/resolve"
)

// Task is one attempt, as the worker is told of it.
type Task struct {
	Job     int64
	Attempt int

	Image    string
	Digest   string // the manifest to open, whatever the tag leads to now; "" where there is none
	Platform string
	// Policy is what Image may lead to, unless Local says that the caller could
	// read everything here anyway.
	Policy resolve.Policy
	Local  bool

	Mode scanner.Mode
	// Memory is the budget of the scan in bytes: less than the worker's limit, which also has
	// to hold page cache and page tables.
	Memory int64
	// CacheDir keeps finished layers for later attempts, at most CacheSize bytes; "" keeps none.
	CacheDir  string
	CacheSize int64
	// TempDir is for temporary files, OutDir for the result. Both must exist.
	TempDir, OutDir string
	// Attach pushes the SBOM to the image's registry.
	Attach bool
}

// Report is how an attempt ended.
type Report struct {
	Outcome scanner.Outcome
	scanner.End
	// Retryable says of an error that the same may well work at another time.
	Retryable bool
	// Result, and the two files, are there when the attempt has succeeded: SubjectFile
	// holds a [Subject] as JSON, InventoryFile what squash.Open reads.
	Result                     scanner.Result
	SubjectFile, InventoryFile string
}

// Subject is what a document needs to know of the image beside the inventory.
type Subject struct {
	sbom.Subject
	// Created is when the image was made, as its configuration says; zero where it does not.
	Created time.Time
}

func (t *Task) subjectFile() string   { return filepath.Join(t.OutDir, "subject.json") }
func (t *Task) inventoryFile() string { return filepath.Join(t.OutDir, "inventory") }
