package inspect

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"stella/internal/oom"
)

const (
	// maxHeapBytes bounds all heap profiles on disk: some 600 usual ones, eight of the largest. The oldest go first.
	maxHeapBytes = 64 << 20
	// maxHeaps bounds how many they are, at some 1 KiB each in memory.
	maxHeaps = 600
	// heapIndex is the file that says what the others are, heapEnd what those end with.
	heapIndex, heapEnd = "heaps.json", ".pb.gz"
	// maxIndex bounds that file.
	maxIndex = 4 << 20
)

// heaps are the heap profiles in a directory. It is safe for concurrent use; add is called by one goroutine.
type heaps struct {
	dir string

	mu    sync.Mutex
	all   []oom.Heap // the oldest first
	bytes int64
}

// openHeaps reads a directory, which need not be there. What is in the index and not there is forgotten, and what is not in the index is removed. What cannot be
// read is as good as empty, and the error says why.
func openHeaps(dir string) (*heaps, error) {
	h := &heaps{dir: dir}
	kept, err := h.index()
	if err != nil {
		return h, err
	}
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	} else if err != nil {
		return h, fmt.Errorf("heap profiles: %w", err)
	}
	there := map[string]bool{}
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), heapEnd)
		if ok && slices.ContainsFunc(kept, func(k oom.Heap) bool { return k.ID == id }) {
			there[id] = true
		} else if f.Name() != heapIndex && !f.IsDir() {
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	for _, k := range kept {
		if there[k.ID] {
			h.all, h.bytes = append(h.all, k), h.bytes+k.Bytes
		}
	}
	return h, err
}

// index reads the index. One that is broken is as good as none: profiles are of use for hours.
func (h *heaps) index() (kept []oom.Heap, err error) {
	f, err := os.Open(filepath.Join(h.dir, heapIndex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("heap profiles: %w", err)
	}
	defer f.Close()
	if json.NewDecoder(io.LimitReader(f, maxIndex)).Decode(&kept) != nil {
		return nil, nil
	}
	return kept, nil
}

// add adds what write writes, and fills in its ID and its size. The oldest profiles make room.
func (h *heaps) add(p *oom.Heap, write func(io.Writer) error) error {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return fmt.Errorf("keep a heap profile: %w", err)
	}
	p.ID = strings.ToLower(rand.Text()[:12])
	part := filepath.Join(h.dir, p.ID+".part")
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("keep a heap profile: %w", err)
	}
	err = write(f)
	if info, bad := f.Stat(); err == nil && bad == nil {
		p.Bytes = info.Size()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(part, h.file(p.ID))
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all, h.bytes = append(h.all, *p), h.bytes+p.Bytes
	for h.bytes > maxHeapBytes || len(h.all) > maxHeaps {
		if err := os.Remove(h.file(h.all[0].ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove an old heap profile: %w", err)
		}
		h.bytes -= h.all[0].Bytes
		h.all = slices.Delete(h.all, 0, 1)
	}
	return h.write()
}

// write writes the index, at once or not at all.
func (h *heaps) write() error {
	text, err := json.Marshal(h.all)
	if err != nil {
		return err
	}
	name := filepath.Join(h.dir, heapIndex)
	if err := os.WriteFile(name+".part", text, 0o600); err != nil {
		return fmt.Errorf("keep a heap profile: %w", err)
	}
	return os.Rename(name+".part", name)
}

func (h *heaps) file(id string) string { return filepath.Join(h.dir, id+heapEnd) }

// of are those of a cgroup, the oldest first.
func (h *heaps) of(cgroup string) []oom.Heap {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []oom.Heap
	for i := range h.all {
		if h.all[i].Cgroup == cgroup {
			found = append(found, h.all[i])
		}
	}
	return found
}

// open opens one. It is fs.ErrNotExist where there is none.
func (h *heaps) open(id string) (io.ReadCloser, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.ContainsFunc(h.all, func(p oom.Heap) bool { return p.ID == id }) {
		return nil, fs.ErrNotExist
	}
	return os.Open(h.file(id))
}

// size is what all take on disk, in bytes.
func (h *heaps) size() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}
