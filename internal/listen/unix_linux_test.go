package listen_test

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"stella/internal/listen"
	"stella/internal/testkit"
)

// TestMain is a client that connects to a socket, where a test starts it as one.
func TestMain(m *testing.M) {
	if path := os.Getenv("STELLA_TEST_CONNECT"); path != "" {
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "unix", path)
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		io.Copy(io.Discard, conn)
		return
	}
	os.Exit(m.Run())
}

func mustListen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := listen.Unix(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// wantError checks that listening fails, and says so.
func wantError(t *testing.T, path, want string) {
	t.Helper()
	l, err := listen.Unix(t.Context(), path, "")
	if err == nil {
		l.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
		t.Errorf("%s: %v, want %q", path, err, want)
	}
}

// The socket is made with its mode, whatever the umask.
func TestMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	l := mustListen(t, path)
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: %v", err)
	}
}

func TestGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := listen.Unix(t.Context(), path, strconv.Itoa(os.Getegid()))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	bad := filepath.Join(t.TempDir(), "sock")
	if _, err := listen.Unix(t.Context(), bad, "no-such-group"); err == nil || !strings.Contains(err.Error(), "no-such-group") {
		t.Errorf("an unknown group: %v", err)
	}
	if _, err := os.Lstat(bad); !os.IsNotExist(err) {
		t.Errorf("its socket is left: %v", err)
	}
	mustListen(t, bad)
}

// A dead server's socket is replaced; a live one's is not, whether or not it has the lock.
func TestStaleAndLive(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	first := mustListen(t, path)
	wantError(t, path, "another server listens")
	first.Close()
	mustListen(t, path).Close()

	addr := &net.UnixAddr{Name: path, Net: "unix"}
	other, err := net.ListenUnix("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	other.SetUnlinkOnClose(false)
	wantError(t, path, "another server listens")
	other.Close() // dead, and its file is there
	mustListen(t, path)
}

func TestWhatIsInTheWay(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, file, "is no socket")
	if text, err := os.ReadFile(file); string(text) != "precious" {
		t.Errorf("the file became %q, %v", text, err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	wantError(t, link, "is no socket")
	wantError(t, filepath.Join(dir, "none", "sock"), "no such file")
	wantError(t, filepath.Join(dir, strings.Repeat("x", 120)), "does not fit")

	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	wantError(t, filepath.Join(open, "sock"), "may be written by others")
	if err := os.Chmod(open, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	mustListen(t, filepath.Join(open, "sock"))
	if err := os.Symlink(file, filepath.Join(dir, "locked.lock")); err != nil {
		t.Fatal(err)
	}
	wantError(t, filepath.Join(dir, "locked"), "too many levels of symbolic links")
}

func TestDirectoryOfSomebodyElse(t *testing.T) {
	testkit.Need(t, testkit.Root)
	dir := filepath.Join(t.TempDir(), "theirs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	wantError(t, filepath.Join(dir, "sock"), "belongs to user 65534")
}

func TestPeer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l := mustListen(t, path)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	if uid, ok := listen.Peer(accepted); !ok || uid != os.Geteuid() {
		t.Errorf("the peer is %d, %v", uid, ok)
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	if uid, ok := listen.Peer(ours); ok {
		t.Errorf("a pipe has the peer %d", uid)
	}
}

// Another user is who the kernel says, and may not open a socket that is not for them.
func TestPeerIsAnotherUser(t *testing.T) {
	testkit.Need(t, testkit.Root)
	const nobody = 65534
	dir, err := os.MkdirTemp("", "stella-listen-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "client")
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	connect := func(path string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = []string{"STELLA_TEST_CONNECT=" + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		return cmd
	}
	private := filepath.Join(dir, "private")
	mustListen(t, private)
	if out, err := connect(private).CombinedOutput(); err == nil || !strings.Contains(string(out), "permission denied") {
		t.Errorf("on a private socket: %v: %s", err, out)
	}
	shared := filepath.Join(dir, "shared")
	l, err := listen.Unix(t.Context(), shared, strconv.Itoa(nobody))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := connect(shared)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if uid, ok := listen.Peer(accepted); !ok || uid != nobody {
		t.Errorf("the peer is %d, %v", uid, ok)
	}
	accepted.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
