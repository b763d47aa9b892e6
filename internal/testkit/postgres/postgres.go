// Package postgres starts a real PostgreSQL server for tests.
//
// [Database] gives a test an empty database on a server that the test binary
// shares; [Start] gives it a server of its own, to stop and start. Both skip the
// test where Debian's package postgresql is missing (capability "postgresql").
//
// A server listens on a Unix socket in its temporary directory, and nowhere else.
// PostgreSQL refuses root, so under root it runs as the user postgres. Its files
// are not flushed to the disk: they outlive a killed server, not a power cut, and
// tests are quick.
//
// Hazard: a test binary can be killed. So the server belongs to a keeper, a shell
// that reads from a pipe whose other end the test binary has: however that ends,
// the keeper ends the server and removes its directory.
package postgres

import (
	"database/sql"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"stella/internal/testkit"
)

// account is whom the server runs as where this process is root. Debian's package makes it.
const account = "postgres"

// startTimeout is for initdb, 1 s as a rule, and the server on a busy machine.
const startTimeout = time.Minute

// keeper ends the server, quickly but cleanly, and removes everything once its standard input ends.
const keeper = `
trap '' INT TERM HUP
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
rm -rf "$1"
`

var capability = testkit.Capability{Name: "postgresql", How: "install the Debian package postgresql", Probe: func() error {
	_, err := programs()
	return err
}}

// programs is the directory of the newest version's programs, which Debian keeps out of PATH.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", testkit.Missing("there is no /usr/lib/postgresql/*/bin/postgres")
	}
	newest := found[0]
	for _, f := range found[1:] {
		if len(f) > len(newest) || len(f) == len(newest) && f > newest { // 9 comes before 15
			newest = f
		}
	}
	return filepath.Dir(newest), nil
}

// Server is a PostgreSQL server.
type Server struct {
	dir, bin string
	next     atomic.Int64 // number of the next database
	end      func() error
}

var shared struct {
	sync.Mutex
	server *Server
}

// Database makes an empty database for this test on the shared server, and returns its URL.
func Database(t testing.TB) string {
	t.Helper()
	testkit.Need(t, capability)
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s, err := start()
		if err != nil {
			t.Fatal(err)
		}
		shared.server = s // until the test binary ends
	}
	return shared.server.Database(t)
}

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	testkit.Need(t, capability)
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.end(); err != nil {
			t.Errorf("end PostgreSQL: %v", err)
		}
	})
	return s
}

func start() (_ *Server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	// Paths of sockets have 107 bytes at most, so not the test's own directory.
	dir, err := os.MkdirTemp("", "stella-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin}
	if s.end, err = keep(dir); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.end()
		}
	}()
	if credential, err := credential(); err != nil {
		return nil, err
	} else if credential != nil {
		if err := os.Chown(dir, int(credential.Uid), int(credential.Gid)); err != nil {
			return nil, err
		}
	}
	if err := s.run("initdb", "--pgdata", s.data(), "--username", account, "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"); err != nil {
		return nil, err
	}
	return s, s.Up()
}

// keep starts the keeper; the function that it returns ends the server.
func keep(dir string) (func() error, error) {
	cmd := exec.Command("sh", "-c", keeper, "keeper", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not interrupted with the test
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		stdin.Close()
		return cmd.Wait()
	}, nil
}

func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(account)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// run runs one of PostgreSQL's programs as the server's user.
func (s *Server) run(program string, args ...string) error {
	credential, err := credential()
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setpgid: true}
	// A file, because what the server inherits of a pipe would be waited for.
	out, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		text, _ := io.ReadAll(io.NewSectionReader(out, 0, 4096))
		return fmt.Errorf("%s: %w: %s", program, err, text)
	}
	return nil
}

// Up starts the server again after [Server.Down], and waits until it answers.
func (s *Server) Up() error {
	options := "-c listen_addresses= -c unix_socket_directories=" + s.dir +
		" -c fsync=off -c full_page_writes=off -c shared_buffers=16MB -c max_wal_size=256MB"
	return s.run("pg_ctl", "start", "--wait", "--timeout", strconv.Itoa(int(startTimeout.Seconds())),
		"--pgdata", s.data(), "--log", filepath.Join(s.dir, "log"), "--options", options)
}

// Down ends the server. At once, its processes end as after a crash; else connections are closed first.
func (s *Server) Down(atOnce bool) error {
	mode := "fast"
	if atOnce {
		mode = "immediate"
	}
	return s.run("pg_ctl", "stop", "--wait", "--pgdata", s.data(), "--mode", mode)
}

// URL is the address of one of the server's databases; "postgres" is always there.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(account), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

// Database makes an empty database, which is dropped when the test ends, and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test%d", s.next.Add(1))
	if err := s.administer("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.administer("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	return s.URL(name)
}

func (s *Server) administer(statement string) error {
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
