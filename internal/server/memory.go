package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"stella/internal/bytesize"
	"stella/internal/cgroup"
	"stella/internal/scanner"
)

const (
	// ownMemory is the least that is left to stellad itself and to the machine where
	// nobody says how much workers may have, and ownShare the part of all that is left where that is more.
	ownMemory = 256 << 20
	ownShare  = 10
)

// workerMemory is what all workers together may have in bytes: what was asked
// for, which must be there, or what is there less a share for the rest.
func workerMemory(asked int64) (int64, error) {
	if asked > 0 && asked < scanner.MinWorkerMemory {
		return 0, fmt.Errorf("--worker-memory %s: one worker needs %s", bytesize.Size(asked), bytesize.Text(scanner.MinWorkerMemory))
	}
	ceiling, err := cgroup.MemoryCeiling()
	if err != nil {
		if asked > 0 {
			return asked, nil
		}
		return 0, fmt.Errorf("find out how much memory workers may have: %w; say it with --worker-memory", err)
	}
	switch {
	case asked > ceiling.Bytes:
		return 0, fmt.Errorf("--worker-memory %s: there are only %s here (%s)", bytesize.Size(asked), bytesize.Text(ceiling.Bytes), ceiling.Source)
	case asked > 0:
		return asked, nil
	}
	return ceiling.Bytes - min(max(ownMemory, ceiling.Bytes/ownShare), ceiling.Bytes/2), nil
}

// group begins the names of the workers' cgroups: this data directory's alone, so
// that a server finds those that its earlier process left, and no other's.
func group(dataDir string) string {
	sum := sha256.Sum256([]byte(dataDir))
	return "worker-" + hex.EncodeToString(sum[:4])
}
