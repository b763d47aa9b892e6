package sentinel

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// ErrElsewhere says that a canary was not found: the two paths lead to two directories.
var ErrElsewhere = errors.New("what is written to the one cannot be read in the other")

// Canary proves that the directory of the file is the one that the host knows as dir: it writes a random word there, reads it back below root, where the host's file system is
// mounted, and removes it. Symbolic links of the host are followed as the host would. nil is proof, an error that matches [ErrElsewhere] is proof of the
// contrary, and any other says that nobody can tell.
func (f *File) Canary(root, dir string) error {
	word := rand.Text()
	err := f.in(func(own *os.Root) (err error) {
		defer func() { err = errors.Join(err, removeAny(own, canaryName)) }()
		if err := write(own, canaryName, []byte(word)); err != nil {
			return err
		}
		found, err := readBelow(root, path.Join(dir, canaryName), len(word)+1)
		if err == nil && found != word {
			err = fmt.Errorf("%w: something else is there", ErrElsewhere)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("whether %s is the host's %s, seen below %s: %w", f.dir, dir, root, err)
	}
	return nil
}

// readBelow reads at most n bytes of a file of the host; that there is none is [ErrElsewhere]. No link leads out of root.
func readBelow(root, name string, n int) (string, error) {
	host, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", fmt.Errorf("the host's file system: %w; mount it, or do without it", err)
	}
	defer host.Close()
	fd, err := unix.Openat2(int(host.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return "", ErrElsewhere
	case errors.Is(err, unix.ENOSYS):
		return "", errors.New("a canary takes openat2(2), which Linux has since 5.6; do without the host's file system")
	case err != nil:
		return "", &os.PathError{Op: "open", Path: path.Join(root, name), Err: err}
	}
	in := os.NewFile(uintptr(fd), name)
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, int64(n)))
	return string(text), err
}
