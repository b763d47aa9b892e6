package stream_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"stella/internal/rdev/outlog"
	"stella/internal/rdev/stream"
)

// server is set in the environment of a process that is the server, so that its memory is not that of its clients.
const server = "STREAM_TEST_SERVER"

// TestServer is not a test, but the server of TestIdleCost.
func TestServer(t *testing.T) {
	if os.Getenv(server) == "" {
		t.Skip("skipped: this is the server of another test")
	}
	s := serve(t, stream.Options{}, outlog.Limits{})
	io.WriteString(s.out, "a line\n")
	fmt.Println(s.Listener.Addr())
	io.Copy(io.Discard, os.Stdin)
}

// A subscriber who rests costs at most 8 KiB of resident memory.
func TestIdleCost(t *testing.T) {
	if race {
		t.Skip("skipped: the race detector takes memory of its own")
	}
	const subscribers, most = 2000, 8 << 10
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestServer$")
	cmd.Env = append(os.Environ(), server+"=yes")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	before := resident(t, cmd.Process.Pid)
	for range subscribers {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimSpace(address))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		for b, got := make([]byte, 4<<10), ""; !strings.Contains(got, "a line"); {
			n, err := conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got += string(b[:n])
		}
	}
	each := (resident(t, cmd.Process.Pid) - before) / subscribers
	t.Logf("%d bytes for each", each)
	if each > most {
		t.Errorf("%d subscribers cost %d bytes each; want at most %d", subscribers, each, most)
	}
}

// resident is the RSS of a process in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
