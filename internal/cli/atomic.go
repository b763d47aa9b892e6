package cli

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// outputBuffer is small, because it counts against the scan's memory, and
// large enough that a write costs little beside what it carries.
const outputBuffer = 32 << 10

// checkWritable finds out before a long scan whether writeFile can work.
func checkWritable(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("cannot write %s: it is a directory; name a file in it", path)
	case err == nil && !info.Mode().IsRegular():
		return access(path, path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot write %s: %w", path, reason(err))
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("cannot write %s: directory %s: %w", path, dir, reason(err))
	}
	return access(path, dir)
}

func access(path, target string) error {
	if err := unix.Access(target, unix.W_OK); err != nil {
		return fmt.Errorf("cannot write %s: %s: %w", path, target, err)
	}
	return nil
}

// writeFile gives path the content that write writes, at once or not at all:
// nobody ever sees half a document. A device or a pipe is written straight.
func writeFile(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("cannot write %s: %w", path, reason(err))
		}
		return errors.Join(buffered(f, write), f.Close())
	}
	// A rename would replace a symbolic link, not the file that it names.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	f, err := createBeside(path)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, reason(err))
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := errors.Join(buffered(f, write), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, reason(err))
	}
	return nil
}

// createBeside makes a temporary file in path's directory, with the
// permissions that the umask gives (os.CreateTemp would make it private).
func createBeside(path string) (*os.File, error) {
	name := fmt.Sprintf(".%s.%s", filepath.Base(path), rand.Text()[:8])
	return os.OpenFile(filepath.Join(filepath.Dir(path), name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
}

func buffered(w io.Writer, write func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, outputBuffer)
	if err := write(b); err != nil {
		return err
	}
	return b.Flush()
}

// reason takes the path out of a path error, where the message names it already.
func reason(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}
