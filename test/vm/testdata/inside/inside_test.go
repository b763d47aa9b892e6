// Package inside is what the tests of vm run in the machine.
package inside

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"stella/internal/testkit"
)

// childEnv makes the test binary do something else instead of testing.
const childEnv = "STELLA_VM_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "allocate":
		allocate(256 << 20)
	case "pivot":
		pivot()
	default:
		os.Exit(m.Run())
	}
}

func child(what string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what)
	return cmd
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestOnlyCgroupV2(t *testing.T) {
	if own := read(t, "/proc/self/cgroup"); own != "0::/test.service/main\n" {
		t.Errorf("own cgroups: %s", own)
	}
	for _, name := range []string{"memory", "pids", "cpu", "cpuset", "io"} {
		if !strings.Contains(read(t, "/sys/fs/cgroup/cgroup.subtree_control"), name) {
			t.Errorf("children of the root have no controller %s", name)
		}
	}
	if mounts := read(t, "/proc/mounts"); strings.Contains(mounts, " cgroup ") {
		t.Errorf("there is cgroup v1:\n%s", mounts)
	}
	read(t, "/proc/pressure/memory")
}

func TestOwnMachine(t *testing.T) {
	if err := testkit.OwnMachine.Probe(); err != nil {
		t.Error(err)
	}
}

// The whole way of a kill: a limit, its counter, and the kernel log.
func TestKillIsCounted(t *testing.T) {
	service := "/sys/fs/cgroup/test.service"
	if err := os.WriteFile(service+"/cgroup.subtree_control", []byte("+memory"), 0); err != nil {
		t.Fatal(err)
	}
	group := service + "/small"
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(group+"/memory.max", []byte("33554432"), 0); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(group)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := child("allocate")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Run(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("child ended with %v, want SIGKILL", err)
	}
	if events := read(t, group+"/memory.events"); !strings.Contains(events, "oom_kill 1\n") {
		t.Errorf("events:\n%s", events)
	}
	if log := kernelLog(t); !strings.Contains(log, "oom_memcg=/test.service/small") {
		t.Errorf("the kernel log does not name the cgroup:\n%s", log)
	}
}

func kernelLog(t *testing.T) string {
	t.Helper()
	const readAll = 3 // syslog(2)
	log := make([]byte, 256<<10)
	n, err := syscall.Klogctl(readAll, log)
	if err != nil {
		t.Fatal(err)
	}
	return string(log[:n])
}

func TestFiles(t *testing.T) {
	if text := read(t, "testdata/hello.txt"); text != "hello from testdata\n" {
		t.Errorf("testdata: %q", text)
	}
	var first, second syscall.Stat_t
	for name, stat := range map[string]*syscall.Stat_t{"/given/sub/first": &first, "/given/second": &second} {
		if err := syscall.Stat(name, stat); err != nil {
			t.Fatal(err)
		}
	}
	if first.Ino != second.Ino || first.Nlink != 2 || first.Mode&0o777 != 0o751 {
		t.Errorf("want one file of mode 751 with two names: %+v, %+v", first, second)
	}
	if text := read(t, "/given/second"); text != "given" {
		t.Errorf("content: %q", text)
	}
	if target, err := os.Readlink("/given/link"); target != "sub/../sub/first" || read(t, "/given/link") != "given" {
		t.Errorf("link to %q, %v", target, err)
	}
}

func TestEnvironment(t *testing.T) {
	for name, want := range map[string]string{
		"STELLA_PASSED": "yes", "NOT_PASSED": "", "HOME": "/root", "TMPDIR": "/tmp",
	} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
	if n, err := os.Stdin.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the input has %d bytes, %v", n, err)
	}
	for _, dir := range []string{"/tmp", "/run", "/dev/shm", os.Getenv("HOME")} {
		if err := os.WriteFile(filepath.Join(dir, "new"), nil, 0o644); err != nil {
			t.Error(err)
		}
	}
}

func TestClock(t *testing.T) {
	var started int64
	if _, err := fmt.Sscan(os.Getenv("STELLA_VM_STARTED"), &started); err != nil {
		t.Fatal(err)
	}
	if late := time.Since(time.Unix(started, 0)); late < -2*time.Second || late > 5*time.Minute {
		t.Errorf("the machine was started %v ago by its clock", late)
	}
}

func TestLoopback(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Overlay is a module of the kernel, and mount a program with libraries.
func TestModuleAndProgram(t *testing.T) {
	dir := t.TempDir()
	options := "lowerdir=" + dir + "/lower,upperdir=" + dir + "/upper,workdir=" + dir + "/work"
	for _, name := range []string{"lower", "upper", "work", "both"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("mount", "-t", "overlay", "-o", options, "overlay", dir+"/both").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := syscall.Unmount(dir+"/both", 0); err != nil {
		t.Error(err)
	}
}

// A container changes its root, which the kernel refuses where the root is the first mount of all.
func TestPivotRoot(t *testing.T) {
	cmd := child("pivot")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func pivot() {
	dir, err := os.MkdirTemp("", "root")
	if err == nil {
		err = syscall.Mount("tmpfs", dir, "tmpfs", 0, "")
	}
	if err == nil {
		err = os.Chdir(dir)
	}
	if err == nil {
		err = syscall.PivotRoot(".", ".")
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	out, err := exec.Command("sh", "-c", "sleep 0.1 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	orphan := "/proc/" + strings.TrimSpace(string(out))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(orphan); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there", orphan)
		}
	}
}

// What outlives the test and still holds its output does not keep the machine.
func TestOneIsLeftBehind(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	cmd.Stdout = os.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// What is on the disk is there, and what is flushed to it stays.
func TestEndDisk(t *testing.T) {
	disk, err := os.OpenFile("/dev/vda", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	given := make([]byte, 5)
	if _, err := disk.ReadAt(given, 0); err != nil || string(given) != "given" {
		t.Errorf("%q, %v", given, err)
	}
	if _, err := disk.WriteAt([]byte("taken"), 4096); err != nil {
		t.Error(err)
	}
	if err := disk.Sync(); err != nil {
		t.Error(err)
	}
}
