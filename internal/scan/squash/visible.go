package squash

import (
	"bytes"
	"encoding/binary"

	"stella/internal/extsort"
	"stella/internal/scan/fragment"
)

// The path is the sort key, with NUL for "/", so that all that is below a
// directory follows it at once ("a", "a/b", "a-b"). No path of a tar holds NUL.

func appendPathKey(b, path []byte) []byte {
	n := len(b)
	b = append(b, path...)
	for i := n; i < len(b); i++ {
		if b[i] == '/' {
			b[i] = 0
		}
	}
	return b
}

func pathOf(key []byte) string {
	return string(bytes.ReplaceAll(key, []byte{0}, []byte{'/'}))
}

// Values start with a byte that puts what hides before what was found at the same path.
const (
	isHider = 0
	isFound = 1
)

func appendHider(b []byte, time uint64, k fragment.Kind) []byte {
	return append(binary.BigEndian.AppendUint64(append(b, isHider), time), byte(k))
}

// frame is one ancestor of the current path: the first len bytes of it.
type frame struct {
	len int
	// below is the latest time of anything that hides what is below this path, here or further up.
	below uint64
}

// visible walks the sorted records and gives fn the value (without its
// first byte) of everything found that is not hidden.
func (s *squasher) visible(x *extsort.Sorter, fn func(key, value []byte) error) error {
	var (
		stack   []frame // depth is bounded by the length of a path
		current []byte
		started bool
		self    uint64 // latest time of what hides the current path itself
	)
	return x.Each(func(key, value []byte) error {
		if !started || !bytes.Equal(key, current) {
			started = true
			for len(stack) > 0 && !isAncestor(current[:stack[len(stack)-1].len], key) {
				stack = stack[:len(stack)-1]
			}
			var up uint64
			if len(stack) > 0 {
				up = stack[len(stack)-1].below
			}
			current = append(current[:0], key...)
			stack = append(stack, frame{len(key), up})
			self = up
		}
		time := binary.BigEndian.Uint64(value[1:])
		if value[0] == isFound {
			if time < self {
				return nil
			}
			return fn(key, value[1:])
		}
		top := &stack[len(stack)-1]
		switch k := fragment.Kind(value[9]); k {
		case fragment.Dir:
			self = max(self, time)
		case fragment.Opaque:
			top.below = max(top.below, time)
		default:
			self = max(self, time)
			top.below = max(top.below, time)
		}
		return nil
	})
}

func isAncestor(a, key []byte) bool {
	if len(a) == 0 {
		return len(key) > 0
	}
	return len(key) > len(a) && key[len(a)] == 0 && bytes.HasPrefix(key, a)
}

// filterBits is the size of the Bloom filter: half a MiB. With a million
// places one in six entries passes that need not, which costs time only.
const filterBits = 4 << 20

type filter [filterBits / 64]uint64

// addWithAncestors adds a path, all its parents and the root.
func (f *filter) addWithAncestors(key []byte) {
	f.add(key)
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == 0 {
			f.add(key[:i])
		}
	}
	f.add(nil)
}

func (f *filter) add(key []byte) {
	a, b := hash(key)
	for range 4 {
		f[a%filterBits/64] |= 1 << (a % 64)
		a += b
	}
}

func (f *filter) has(key []byte) bool {
	a, b := hash(key)
	for range 4 {
		if f[a%filterBits/64]&(1<<(a%64)) == 0 {
			return false
		}
		a += b
	}
	return true
}

// hash is FNV-1a, finished so that all bits count; the second value steps through the filter.
func hash(key []byte) (a, b uint64) {
	h := uint64(14695981039346656037)
	for _, c := range key {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	h ^= h >> 32
	return h, h>>17 | 1
}
