package notice

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"stella/internal/kube"
	"stella/internal/oom"
	"stella/internal/testkit"
)

const (
	first  = "0527c6dd14e504ab8c406806e0ce182aec604a0dbeeefc4e94e1ee3550dda3db"
	second = "9192cb33411ff69d015a3577db136757f5b145064a1703efea3d0e12e8a64987"
)

// heard are what a source told, and how it does.
type heard struct {
	notices chan oom.Notice
	states  chan error
}

// follow runs a source until the test ends.
func follow(t *testing.T, source func(context.Context, func(oom.Notice), func(error)) error) heard {
	t.Helper()
	h := heard{make(chan oom.Notice, 100), make(chan error, 100)}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := source(ctx, func(n oom.Notice) { h.notices <- n }, func(err error) { h.states <- err }); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
	return h
}

func next[T any](t *testing.T, c chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// field writes a field of a message of protocol buffers.
func field(number int, value []byte) []byte {
	return append(binary.AppendUvarint([]byte{byte(number<<3 | lengthDelimited)}, uint64(len(value))), value...)
}

// startContainerd starts one of the test's own, without any images or containers.
func startContainerd(t *testing.T, dir string) (stop func()) {
	t.Helper()
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), filepath.Join(dir, "sock"), filepath.Join(dir, "ttrpc"))
	name := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("containerd", "--config", name)
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("containerd:\n%s", &log)
		}
	})
	t.Cleanup(stop)
	return stop
}

// publish lets containerd tell of an event, as its shims do.
func publish(t *testing.T, dir, namespace, topic, id string) {
	t.Helper()
	any := append(field(1, []byte("containerd.events.TaskOOM")), field(2, field(1, []byte(id)))...)
	cmd := exec.Command("containerd", "--address", filepath.Join(dir, "sock"), "publish", "--namespace", namespace, "--topic", topic)
	cmd.Stdin = bytes.NewReader(any)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestContainerd(t *testing.T) {
	testkit.Need(t, testkit.Root, testkit.Program("containerd"))
	dir := t.TempDir()
	h := follow(t, func(ctx context.Context, tell func(oom.Notice), state func(error)) error {
		return Containerd(ctx, filepath.Join(dir, "sock"), tell, state)
	})
	if err := next(t, h.states); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a containerd: %v", err)
	}
	stop := startContainerd(t, dir)
	if err := next(t, h.states); err != nil {
		// The socket can be there before anybody listens.
		if err = next(t, h.states); err != nil {
			t.Fatal(err)
		}
	}
	// The call was sent, and may not have been taken up: what is published until then is lost, so try again.
	var n oom.Notice
	for deadline := time.Now().Add(20 * time.Second); ; {
		publish(t, dir, "k8s.io", "/tasks/exit", second)
		publish(t, dir, "k8s.io", "/tasks/oom", first)
		select {
		case n = <-h.notices:
		case <-time.After(100 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
			t.Fatal("no notice")
		}
		break
	}
	want := oom.Notice{Witness: oom.WitnessRuntime, Time: n.Time, Process: oom.Process{UID: -1}, Container: oom.Container{ID: first, Runtime: "containerd"}}
	if diff := cmp.Diff(want, n); diff != "" || time.Since(n.Time) > time.Minute || time.Until(n.Time) > time.Second {
		t.Errorf("at %v: %s", n.Time, diff)
	}
	publish(t, dir, "moby", "/tasks/oom", second)
	for n = next(t, h.notices); n.Container.ID == first; n = next(t, h.notices) {
	}
	if n.Container.ID != second || n.Container.Runtime != "docker" {
		t.Errorf("%+v", n)
	}
	stop()
	if err := next(t, h.states); err == nil {
		t.Error("containerd is gone, and it is well")
	}
	startContainerd(t, dir)
	for next(t, h.states) != nil { // until it listens again
	}
}

func FuzzEvent(f *testing.F) {
	good := append(field(3, []byte("/tasks/oom")), field(4, append(field(1, []byte("x")), field(2, field(1, []byte(first)))...))...)
	good = append(good, field(1, []byte{1 << 3, 5, 2 << 3, 7})...)
	f.Add(good)
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, message []byte) {
		n, ok := event(message)
		if ok != (len(n.Container.ID) == 64) {
			t.Fatalf("%q: %v, %+v", message, ok, n)
		}
		fields(message, func(field int, value []byte, _ uint64) {
			if len(value) > len(message) || field < 0 {
				t.Fatalf("%q: field %d has %d bytes", message, field, len(value))
			}
		})
	})
}

// A file that conmon made is told once, also when it was there before; a container that is used again has another one.
func TestOOMFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "overlay-containers")
	f := oomFiles{dir: dir}
	var told []string
	look := func() error {
		t.Helper()
		return f.look(func(n oom.Notice) {
			told = append(told, n.Container.ID)
			if n.Witness != oom.WitnessRuntime || n.Time.IsZero() {
				t.Errorf("%+v", n)
			}
		})
	}
	if err := look(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the directory: %v", err)
	}
	put := func(name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(dir, first, "userdata/oom"))
	put(filepath.Join(dir, second, "userdata/config.json"))
	put(filepath.Join(dir, "containers.lock"))
	put(filepath.Join(dir, "short/userdata/oom"))
	for range 2 {
		if err := look(); err != nil {
			t.Fatal(err)
		}
	}
	put(filepath.Join(dir, second, "userdata/oom"))
	again := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(dir, first, "userdata/oom"), again, again); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil {
		t.Fatal(err)
	}
	if len(told) != 3 || told[0] != first || told[1] == told[2] {
		t.Errorf("told %v", told)
	}
	if err := os.RemoveAll(filepath.Join(dir, first)); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil || len(f.told) != 1 {
		t.Errorf("%v; %d containers are remembered", err, len(f.told))
	}
	for i := range maxBundles {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%064x", i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := look(); err == nil {
		t.Error("more containers than may be remembered are no error")
	}
}

// The whole loop, in the time of a bubble.
func TestOOMFilesFollows(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := follow(t, func(ctx context.Context, tell func(oom.Notice), state func(error)) error {
			return OOMFiles(ctx, dir, tell, state)
		})
		if err := <-h.states; err != nil {
			t.Error(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, first, "userdata/oom"), 0o755); err != nil {
			t.Fatal(err)
		}
		if n := <-h.notices; n.Container.ID != first {
			t.Errorf("%+v", n)
		}
	})
}

func oomLine(id string) string {
	return `time="2025-05-19T18:14:43Z" level=info msg="TaskOOM event container_id:\"` + id + `\""` + "\n"
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "log")
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		add(oomLine(first)) // before the agent's time
		h := follow(t, func(ctx context.Context, tell func(oom.Notice), state func(error)) error {
			return Tail(ctx, name, tell, state)
		})
		// expect waits for two looks, and wants these containers.
		expect := func(what string, ids ...string) {
			t.Helper()
			time.Sleep(2*glance + time.Millisecond)
			synctest.Wait()
			var got []string
			for len(h.notices) > 0 {
				got = append(got, (<-h.notices).Container.ID)
			}
			if diff := cmp.Diff(ids, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		if err := <-h.states; err != nil {
			t.Error(err)
		}
		expect("what was there before")
		add("x\n" + oomLine(first) + "y\n" + oomLine(second))
		expect("appended", first, second)
		line := oomLine(first)
		add(line[:50])
		expect("half a line")
		add(line[50:])
		expect("the other half", first)
		add(strings.Repeat("x", tailBuffer+100) + line + oomLine(second))
		expect("behind a line that is too long", second)
		add(line[:len(line)-1])
		if err := os.Rename(name, name+".1"); err != nil {
			t.Fatal(err)
		}
		add(oomLine(second))
		expect("rotated", second)
		if err := os.Truncate(name, 0); err != nil {
			t.Fatal(err)
		}
		expect("truncated")
		add(oomLine(first))
		expect("after truncation", first)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		expect("removed")
		add(oomLine(second))
		expect("made again", second)
		if len(h.states) > 0 {
			t.Errorf("trouble: %v", <-h.states)
		}
		add(strings.Repeat("x", 2*maxGlance) + "\n" + oomLine(first))
		expect("a flood", first)
		if err := <-h.states; err == nil || !strings.Contains(err.Error(), "were left out") {
			t.Errorf("what was left out is not told: %v", err)
		}
		if err := <-h.states; err != nil {
			t.Error(err)
		}
	})
}

func TestTailWaits(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	synctest.Test(t, func(t *testing.T) {
		h := follow(t, func(ctx context.Context, tell func(oom.Notice), state func(error)) error {
			return Tail(ctx, name, tell, state)
		})
		if err := <-h.states; !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if err := os.WriteFile(name, []byte(oomLine(first)), 0o644); err != nil {
			t.Fatal(err)
		}
		if n := <-h.notices; n.Container.ID != first {
			t.Errorf("%+v", n)
		}
		if err := <-h.states; err != nil {
			t.Error(err)
		}
	})
}

func TestStatuses(t *testing.T) {
	at := time.Date(2026, 5, 31, 8, 0, 0, 0, time.UTC)
	end := func(id, reason string, code int) *kube.Terminated {
		return &kube.Terminated{ID: id, Reason: reason, ExitCode: code, Finished: at}
	}
	pod := &kube.Pod{
		Metadata: kube.Metadata{Name: "p", Namespace: "n", UID: "u"}, Spec: kube.PodSpec{NodeName: "node"},
		Status: kube.PodStatus{QoS: "Burstable", Containers: []kube.ContainerStatus{
			{Name: "killed", Last: kube.ContainerState{Terminated: end("containerd://"+first, "OOMKilled", 137)}, State: kube.ContainerState{Terminated: end("containerd://"+second, "OOMKilled", 0)}},
			{Name: "by hand", Last: kube.ContainerState{Terminated: end("containerd://x", "Error", 137)}},
			{Name: "without an ID", State: kube.ContainerState{Terminated: end("", "OOMKilled", 1)}},
			{Name: "well"},
		}},
	}
	var s Statuses
	notice := func(id, runtime, name string, code int) oom.Notice {
		return oom.Notice{Witness: oom.WitnessStatus, Time: at, ExitCode: code, Reason: "OOMKilled", Process: oom.Process{UID: -1},
			Container: oom.Container{ID: id, Runtime: runtime, Name: name, Pod: "p", Namespace: "n", PodUID: "u", QoS: "Burstable", Node: "node"}}
	}
	want := []oom.Notice{notice(first, "containerd", "killed", 137), notice(second, "containerd", "killed", 0), notice("", "", "without an ID", 1)}
	if diff := cmp.Diff(want, s.Pod(pod)); diff != "" {
		t.Error(diff)
	}
	if again := s.Pod(pod); again != nil {
		t.Errorf("told again: %+v", again)
	}
	for i := range 3 * maxEnds {
		pod.Status.Containers = []kube.ContainerStatus{{State: kube.ContainerState{Terminated: end(fmt.Sprint("containerd://", i), "OOMKilled", 137)}}}
		if len(s.Pod(pod)) != 1 {
			t.Fatal("a new end is not told")
		}
	}
	if n := len(s.told) + len(s.older); n > maxEnds {
		t.Errorf("%d ends are remembered", n)
	}
}
