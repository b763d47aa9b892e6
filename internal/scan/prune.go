package scan

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// tallyName is a file of the cache that says how many bytes its files have, and
	// how many scans ago they were counted. A cache has as many files as there were images and
	// layers: to look at each of them after each scan would take longer than a small scan.
	tallyName = "tally"
	// countEvery is after how many scans the files are counted again: scans that are
	// killed add to the cache, and not to the tally.
	countEvery = 1000
	// slack is the part of a cache that is removed at once, one in so many, for the same reason.
	slack = 16
)

// openTally opens the tally, which is made where it is not there. Whatever else has its name,
// such as a symbolic link that leads out of the cache, goes: it is never written through.
func openTally(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
}

// prune removes the files used longest ago where the cache has more than limit bytes.
func (c *cacheStore) prune(limit int64) error {
	f, err := openTally(filepath.Join(c.dir, tallyName))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	c.mu.Lock()
	added := c.added
	c.added = 0
	c.mu.Unlock()
	var total, scans int64
	_, err = fmt.Fscanf(f, "%d %d", &total, &scans)
	total, scans = total+added, scans+1
	if err != nil || total > limit || scans >= countEvery { // an error: nobody has counted, or a power cut left it in pieces
		if total, err = c.remove(limit); err != nil {
			return err
		}
		scans = 0
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%020d %020d\n", total, scans), 0)
	return err
}

// remove counts the files, and removes the oldest of too many. It returns how many bytes the rest has.
// It reads the directory in chunks, and remembers no more than it needs to find the age below which files go.
func (c *cacheStore) remove(limit int64) (total int64, err error) {
	type file struct {
		name string
		size int64
		used time.Time
	}
	const remembered = 4096 // oldest files of one round: half a MiB
	enough := limit
	for {
		total = 0
		var oldest []file
		err := eachFile(c.dir, func(e fs.DirEntry) error {
			st, err := e.Info()
			if err != nil {
				return nil // another scan removed it
			}
			if strings.HasPrefix(e.Name(), unfinished) {
				if time.Since(st.ModTime()) > unfinishedAge {
					os.Remove(filepath.Join(c.dir, e.Name()))
				}
				return nil
			}
			if !strings.HasSuffix(e.Name(), fragmentSuffix) && !strings.HasSuffix(e.Name(), inventorySuffix) {
				return nil
			}
			total += st.Size()
			oldest = append(oldest, file{e.Name(), st.Size(), st.ModTime()})
			if len(oldest) == 2*remembered {
				slices.SortFunc(oldest, func(a, b file) int { return a.used.Compare(b.used) })
				oldest = oldest[:remembered]
			}
			return nil
		})
		if err != nil || total <= enough {
			return total, err
		}
		enough = limit - limit/slack
		slices.SortFunc(oldest, func(a, b file) int { return a.used.Compare(b.used) })
		for _, f := range oldest {
			if total <= enough {
				return total, nil
			}
			if err := os.Remove(filepath.Join(c.dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return total, fmt.Errorf("prune the cache: %w", err)
			}
			total -= f.size
		}
	}
}

func eachFile(dir string, fn func(fs.DirEntry) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(256)
		for _, e := range entries {
			if err := fn(e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
