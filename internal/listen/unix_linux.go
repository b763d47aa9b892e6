package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// maxSocketPath is the most bytes of a socket's path (unix(7): 108 with the zero at its end).
const maxSocketPath = 107

// Unix listens on a Unix socket that the server's user may open, and the members of
// group, by name or number, where that is not empty. The directory must exist.
// PATH.lock is kept open as long as the server lives.
func Unix(ctx context.Context, path, group string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("socket %s: a path of more than %d bytes does not fit into a socket's address; choose a shorter one", path, maxSocketPath)
	}
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	lock, err := lockSocket(path)
	if err != nil {
		return nil, err
	}
	l, err := listenUnix(ctx, path, group)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &socket{bounded: bound(l, maxConns), lock: lock}, nil
}

// socket is a listener with the lock of its path.
type socket struct {
	*bounded
	lock *os.File
}

// Close removes the socket, then unlocks its path. The lock's file stays: who
// removed it could remove one that another server has just locked.
func (s *socket) Close() error {
	err := s.bounded.Close()
	s.lock.Close()
	return err
}

func listenUnix(ctx context.Context, path, group string) (net.Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	// On Linux the file gets the mode that the socket has when it is bound.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), 0o600) })
		return errors.Join(err, failed)
	}}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on the socket %s: %w", path, err)
	}
	if err := openFor(path, group); err != nil {
		l.Close()
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return l, nil
}

// openFor lets a group use the socket.
func openFor(path, group string) error {
	if group == "" {
		return nil
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return err
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return err
		}
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// checkDir refuses a directory where others could put another socket in our place.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir() || !ok:
		return fmt.Errorf("%s is no directory", dir)
	case stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("the directory %s belongs to user %d, who could replace the socket; it must belong to root or to user %d", dir, stat.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
		return fmt.Errorf("the directory %s may be written by others, who could replace the socket; chmod go-w %s", dir, dir)
	}
	return nil
}

// lockSocket makes this the only server of a path.
func lockSocket(path string) (*os.File, error) {
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, served(path)
		}
		return nil, fmt.Errorf("lock %s.lock: %w", path, err)
	}
	return lock, nil
}

func served(path string) error {
	return fmt.Errorf("another server listens on %s; stop it, or give this one another socket", path)
}

// removeStale removes a socket on which nobody listens.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket; it is not touched: remove it, or give another path", path)
	}
	c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
		return served(path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s is there, and nobody can tell whether a server listens on it: %w", path, err)
	}
	return os.Remove(path)
}

// Peer returns the user who has the other end of a Unix socket, as the kernel knew it when the
// connection was made (SO_PEERCRED, unix(7)).
func Peer(c net.Conn) (uid int, ok bool) {
	for {
		below, wraps := c.(interface{ NetConn() net.Conn })
		if !wraps {
			break
		}
		c = below.NetConn()
	}
	u, isUnix := c.(*net.UnixConn)
	if !isUnix {
		return 0, false
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil || failed != nil {
		return 0, false
	}
	return int(cred.Uid), true
}
