package postgres

import (
	"bufio"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/testkit"
)

// childEnv makes TestChild start a server and wait to be killed.
const childEnv = "STELLA_POSTGRES_CHILD"

func TestDatabasesAreApart(t *testing.T) {
	for range 2 {
		db, err := sql.Open("pgx", Database(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("CREATE TABLE a (b BIGINT)"); err != nil {
			t.Error(err)
		}
		db.Close()
	}
}

func TestDownAndUp(t *testing.T) {
	s := Start(t)
	db, err := sql.Open("pgx", s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE a (b BIGINT)"); err != nil {
		t.Fatal(err)
	}
	for _, atOnce := range []bool{false, true} {
		if err := s.Down(atOnce); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(); err == nil {
			t.Error("a server that is down answers")
		}
		if err := s.Up(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("INSERT INTO a VALUES (1)"); err != nil {
			t.Error(err)
		}
	}
}

// TestChild passes at once where it is not the child of TestKilledBinaryLeavesNothing.
func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		return
	}
	s := Start(t)
	pid, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(pid), "\n")
	os.Stdout.WriteString("SERVER " + line + " " + s.dir + "\n")
	time.Sleep(time.Hour)
}

func TestKilledBinaryLeavesNothing(t *testing.T) {
	testkit.Need(t, capability)
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	var fields []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if fields = strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "SERVER" {
			break
		}
	}
	if len(fields) != 3 {
		t.Fatalf("the child said %q", fields)
	}
	pid, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("there is no server: %v", err)
	}
	cmd.Process.Kill()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_, statErr := os.Stat(fields[2])
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) && errors.Is(statErr, fs.ErrNotExist) {
			return
		}
	}
	t.Errorf("process %d or %s is still there", pid, fields[2])
}
