package service_test

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/service"
	"stella/internal/store"
)

// A command goes through its life, and what was secret of it goes at its end.
func TestLife(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.start()
		c := r.submit(ada, "web", rdev.Request{
			Argv: []string{"make", "-j2", "test"}, Directory: "src", Env: map[string]string{"TOKEN": "s3cret", "A": "1"}, Stdin: []byte("s3cret too"),
			Memory: 64 << 20, Timeout: time.Minute, Webhook: "https://example.test/hook/s3cret",
		})
		if c.Status != rdev.Queued && c.Status != rdev.Running || c.By != ada.Name || c.Project != "web" || c.Created.IsZero() {
			t.Errorf("submitted: %+v", c)
		}
		p := r.next()
		stdin, err := io.ReadAll(p.Stdin)
		if err != nil || string(stdin) != "s3cret too" || p.Argv[2] != "test" || p.Dir != "/src" || strings.Join(p.Env, " ") != "A=1 TOKEN=s3cret" ||
			p.Memory != 64<<20 || p.Timeout != time.Minute || p.ID != c.ID || p.project.Name != "web" {
			t.Errorf("the program is %+v, stdin %q, %v", p.Spec, stdin, err)
		}
		io.WriteString(p.Stdout, "one\ntwo\n")
		io.WriteString(p.Stderr, "three\n")
		c = r.command(c)
		if c.Status != rdev.Running || c.Started.Before(c.Created) || c.End != nil {
			t.Errorf("running: %+v", c)
		}
		p.exit(3)
		c = r.end(c)
		if c.End == nil || c.End.Reason != rdev.ReasonExit || c.End.ExitCode != 3 || c.Finished.Before(c.Started) || c.Output.Lines != 3 || c.Output.Bytes != 14 || c.Output.Gone {
			t.Errorf("ended: %+v %+v", c, c.End)
		}
		text, _ := output(t, r.logOf(c))
		for _, line := range []string{"stdout: one\n", "stdout: two\n", "stderr: three\n"} {
			if !strings.Contains(text, line) {
				t.Errorf("the output %q lacks %q", text, line)
			}
		}
		told := r.hooks.of("https://example.test/hook/s3cret")
		if len(told) != 1 || told[0].ID != c.ID || told[0].End.ExitCode != 3 || told[0].Status != rdev.Ended {
			t.Errorf("the webhook is told %+v", told)
		}
		if shown := c.Request; shown.Stdin != nil || shown.Env["TOKEN"] != rdev.Hidden || shown.Webhook != "https://example.test" || shown.Memory != 64<<20 || shown.Argv[0] != "make" {
			t.Errorf("shown: %+v", shown)
		}
		r.checkNoSecret("s3cret")
	})
}

// The service's own log says, at level debug, how much a command prints, to the last line.
func TestToldOutput(t *testing.T) {
	r := sqliteRig(t).start()
	c := r.submit(ada, "web", shell("x"))
	p := r.next()
	for range 1000 {
		io.WriteString(p.Stdout, "one\n")
	}
	io.WriteString(p.Stdout, "and a half")
	io.WriteString(p.Stderr, "two\n")
	p.exit(0)
	r.end(c)
	got := map[string][2]int{}
	said := regexp.MustCompile(`msg="output line" command=`+c.ID+` stream=(\w+) lines=(\d+) bytes=(\d+)`).FindAllStringSubmatch(r.said.String(), -1)
	for _, m := range said {
		lines, err1 := strconv.Atoi(m[2])
		size, err2 := strconv.Atoi(m[3])
		if err1 != nil || err2 != nil || size == 0 {
			t.Errorf("%q", m)
		}
		got[m[1]] = [2]int{got[m[1]][0] + lines, got[m[1]][1] + size}
	}
	if got["stdout"] != [2]int{1000, 4010} || got["stderr"] != [2]int{1, 4} || len(said) > 20 {
		t.Errorf("in %d lines it tells of %v", len(said), got)
	}
}

// checkNoSecret looks for what must not be there any more, in the database and in the service's own log.
func (r *rig) checkNoSecret(secret string) {
	r.Helper()
	var n int
	err := r.db.Read(r.Context(), func(tx *store.Tx) error {
		_, err := tx.Get(r.Context(), `SELECT count(*) FROM rdev_commands WHERE request LIKE $1 OR shown LIKE $1`, []any{"%" + secret + "%"}, &n)
		return err
	})
	if err != nil || n > 0 {
		r.Errorf("the database has the secret %d times, %v", n, err)
	}
	if strings.Contains(r.said.String(), secret) {
		r.Errorf("the log has the secret:\n%s", r.said)
	}
}

func TestRefused(t *testing.T) {
	r := sqliteRig(t)
	pressed := false
	r.o.Pressure = func() (bool, string) { return pressed, "memory is short" }
	r.o.Limits = service.Limits{Queued: 3, QueuedPerCaller: 2, MaxMemory: 1 << 30, MaxTimeout: time.Hour, MaxOutput: 1 << 30}
	r.open()
	for what, test := range map[string]struct {
		project string
		request rdev.Request
		kind    error
		text    string
	}{
		"no program":     {"web", rdev.Request{}, rdev.ErrInvalid, "no program"},
		"both":           {"web", rdev.Request{Argv: []string{"a"}, Shell: "b"}, rdev.ErrInvalid, "one of them"},
		"NUL":            {"web", rdev.Request{Argv: []string{"a", "b\x00c"}}, rdev.ErrInvalid, "argument 1"},
		"not text":       {"web", shell("\xff"), rdev.ErrInvalid, "shell line"},
		"traversal":      {"web", rdev.Request{Shell: "x", Directory: "a/../../b"}, rdev.ErrInvalid, "without leaving"},
		"absolute":       {"web", rdev.Request{Shell: "x", Directory: "/etc"}, rdev.ErrInvalid, "without leaving"},
		"no directory":   {"web", rdev.Request{Shell: "x", Directory: "nowhere"}, rdev.ErrInvalid, "nowhere"},
		"variable":       {"web", rdev.Request{Shell: "x", Env: map[string]string{"A=B": "c"}}, rdev.ErrInvalid, "no name"},
		"value":          {"web", rdev.Request{Shell: "x", Env: map[string]string{"A": "\x00"}}, rdev.ErrInvalid, "A"},
		"stdin":          {"web", rdev.Request{Shell: "x", Stdin: make([]byte, rdev.MaxStdin+1)}, rdev.ErrInvalid, "stdin"},
		"too much":       {"web", rdev.Request{Shell: "x", Memory: 2 << 30}, rdev.ErrInvalid, "1.0 GiB"},
		"too little":     {"web", rdev.Request{Shell: "x", Memory: 1 << 20}, rdev.ErrInvalid, "16.0 MiB"},
		"too long":       {"web", rdev.Request{Shell: "x", Timeout: 2 * time.Hour}, rdev.ErrInvalid, "1h"},
		"negative":       {"web", rdev.Request{Shell: "x", Timeout: -1}, rdev.ErrInvalid, "negative"},
		"too many bytes": {"web", rdev.Request{Shell: "x", Output: 2 << 30}, rdev.ErrInvalid, "1.0 GiB"},
		"webhook":        {"web", rdev.Request{Shell: "x", Webhook: "file:///etc/passwd"}, rdev.ErrInvalid, "https"},
		"forbidden":      {"web", rdev.Request{Shell: "x", Webhook: "https://forbidden"}, rdev.ErrInvalid, "not there"},
		"name":           {"../web", shell("x"), rdev.ErrInvalid, "no name of a project"},
		"no project":     {"nowhere", shell("x"), rdev.ErrNotFound, "nowhere"},
		"busy project":   {"busy", shell("x"), rdev.ErrUnavailable, "it is busy"},
		"broken project": {"broken", shell("x"), rdev.ErrUnavailable, "does not answer"},
	} {
		_, _, err := r.s.Submit(t.Context(), ada, test.project, test.request, "")
		if !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r.submit(ada, "web", shell("1"))
	r.submit(ada, "web", shell("2"))
	check := func(by rdev.Caller, kind error) {
		t.Helper()
		_, _, err := r.s.Submit(t.Context(), by, "web", shell("x"), "")
		var e *rdev.Error
		if !errors.Is(err, kind) || !errors.As(err, &e) || e.RetryAfter <= 0 {
			t.Errorf("%s: %v", by.Name, err)
		}
	}
	check(ada, rdev.ErrTooMany)
	r.submit(bob, "web", shell("3"))
	check(bob, rdev.ErrUnavailable) // the queue is full
	pressed = true
	check(bob, rdev.ErrUnavailable)
	if n := len(r.metrics.refused); n != 21+3 {
		t.Errorf("%d refusals were counted", n)
	}
}

func TestSameKey(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.start()
		submit := func(by rdev.Caller, project, line, key string) (rdev.Command, bool, error) {
			return r.s.Submit(t.Context(), by, project, rdev.Request{Shell: line, Env: map[string]string{"A": "1", "B": "2"}}, key)
		}
		first, existed, err := submit(ada, "web", "x", "key")
		if err != nil || existed {
			t.Fatal(err, existed)
		}
		for _, after := range []string{"queued", "ended"} {
			again, existed, err := submit(ada, "web", "x", "key")
			if err != nil || !existed || again.ID != first.ID {
				t.Errorf("repeated when %s: %+v, %v, %v", after, again, existed, err)
			}
			for _, other := range [][2]string{{"web", "y"}, {"api", "x"}} {
				if _, _, err := submit(ada, other[0], other[1], "key"); !errors.Is(err, rdev.ErrConflict) || !strings.Contains(err.Error(), first.ID) {
					t.Errorf("another request with the same key: %v", err)
				}
			}
			if after == "queued" {
				r.next().exit(0)
				r.end(first)
			}
		}
		others, existed, err := submit(bob, "web", "x", "key")
		if err != nil || existed || others.ID == first.ID {
			t.Errorf("another caller's key: %+v, %v, %v", others, existed, err)
		}
		r.next().exit(0)
		// Many at once are one.
		ids := make(chan string)
		for range 8 {
			go func() {
				c, _, err := submit(ada, "web", "z", "once")
				if err != nil {
					t.Error(err)
				}
				ids <- c.ID
			}()
		}
		id := <-ids
		for range 7 {
			if other := <-ids; other != id {
				t.Errorf("commands %s and %s", id, other)
			}
		}
		r.next().exit(0)
		r.nothing()
	})
}

func TestCancel(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.o.Limits.Running = 1
		r.start()
		running := r.submit(ada, "web", rdev.Request{Shell: "1", Webhook: "https://example.test/1"})
		p := r.next()
		queued := r.submit(ada, "web", rdev.Request{Shell: "2", Webhook: "https://example.test/2", Stdin: []byte("s3cret")})
		last := r.submit(ada, "web", shell("3"))
		if queued.Place != 1 || last.Place != 2 {
			t.Errorf("places %d and %d", queued.Place, last.Place)
		}
		waiting := r.logOf(queued)
		c, err := r.s.Cancel(t.Context(), bob, "web", queued.ID)
		if err != nil || c.Status != rdev.Ended || c.End.Reason != rdev.ReasonCancelled || !strings.Contains(c.End.Detail, "by key bob") {
			t.Errorf("cancelled while queued: %+v %+v, %v", c, c.End, err)
		}
		if text, end := output(t, waiting); text != "" || end.Reason != rdev.ReasonCancelled {
			t.Errorf("who waited for its output is told %q, %+v", text, end)
		}
		if text, end := output(t, r.logOf(queued)); text != "" || end.Reason != rdev.ReasonCancelled {
			t.Errorf("who comes later is told %q, %+v", text, end)
		}
		if place := r.command(last).Place; place != 1 {
			t.Errorf("the last has place %d now", place)
		}
		if c, err = r.s.Cancel(t.Context(), bob, "web", running.ID); err != nil || c.Status != rdev.Running {
			t.Errorf("cancelled while running: %+v, %v", c, err)
		}
		<-p.ctx.Done()
		if c = r.end(running); c.End.Reason != rdev.ReasonCancelled || !strings.Contains(c.End.Detail, "by key bob") {
			t.Errorf("cancelled while running: %+v", c.End)
		}
		if again, err := r.s.Cancel(t.Context(), ada, "web", running.ID); err != nil || again.End.Detail != c.End.Detail {
			t.Errorf("cancelled after its end: %+v, %v", again.End, err)
		}
		for _, of := range [][2]string{{"api", last.ID}, {"web", "0000000000000"}} {
			if _, err := r.s.Cancel(t.Context(), bob, of[0], of[1]); !errors.Is(err, rdev.ErrNotFound) {
				t.Errorf("cancel %v: %v", of, err)
			}
		}
		if p := r.next(); p.ID != last.ID {
			t.Errorf("%s is next", p.ID)
		} else {
			p.exit(0)
		}
		r.end(last)
		for _, url := range []string{"https://example.test/1", "https://example.test/2"} {
			if n := len(r.hooks.of(url)); n != 1 {
				t.Errorf("%s is told %d times", url, n)
			}
		}
		r.checkNoSecret("s3cret")
	})
}

// Somebody who reads before it runs gets all of it, and is not woken before.
func TestLogOfQueued(t *testing.T) {
	r := sqliteRig(t)
	r.open()
	c := r.submit(ada, "web", shell("x"))
	log := r.logOf(c)
	if at, err := log.Read(0, nil, nil); err != nil || at.End != nil || at.Next != 0 {
		t.Errorf("read: %+v, %v", at, err)
	}
	if _, err := log.Read(1, nil, nil); !errors.Is(err, outlog.ErrBeyond) {
		t.Errorf("beyond: %v", err)
	}
	more := log.More(0)
	select {
	case <-more:
		t.Error("woken, and there is nothing")
	default:
	}
	r.start()
	p := r.next()
	<-more // it has begun
	io.WriteString(p.Stdout, "hello\n")
	p.exit(0)
	if text, end := output(t, log); text != "stdout: hello\n" || end.Reason != rdev.ReasonExit {
		t.Errorf("%q, %+v", text, end)
	}
}

// A log that retention has removed is gone, and one that never was is empty.
func TestLogGone(t *testing.T) {
	r := sqliteRig(t)
	r.logs.Close()
	r.openLogs(outlog.Options{MaxBytes: 1 << 20})
	r.o.Limits.Output = 1 << 20
	r.start()
	first := r.submit(ada, "web", shell("1"))
	p := r.next()
	p.Stdout.Write(bytes.Repeat([]byte("0123456789abcdef\n"), 40_000))
	// There is no room for a second log while the first one is written: it waits.
	second := r.submit(ada, "web", shell("2"))
	r.nothing()
	if c := r.command(second); c.Status != rdev.Queued || c.Place != 1 || !c.Started.IsZero() {
		t.Errorf("the second: %+v", c)
	}
	p.exit(0)
	p = r.next()
	if c := r.command(first); !c.Output.Gone || c.Output.Last == 0 {
		t.Errorf("the first: %+v", c)
	}
	if list, err := r.s.Commands(t.Context(), rdev.Filter{}); err != nil || len(list.Commands) != 2 || list.Commands[0].Output.Gone || !list.Commands[1].Output.Gone {
		t.Errorf("listed: %+v, %v", list.Commands, err)
	}
	if _, err := r.s.Log(t.Context(), "web", first.ID); !errors.Is(err, rdev.ErrGone) {
		t.Errorf("the log of the first: %v", err)
	}
	p.exit(0)
	r.end(second)
}

func TestListing(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.o.Limits.Running = 1
		r.start()
		var all []rdev.Command
		for i, by := range []rdev.Caller{ada, bob, ada, ada} {
			all = append(all, r.submit(by, []string{"web", "api"}[i%2], shell("x")))
			if i == 0 {
				r.next().exit(0)
				r.end(all[0])
			}
		}
		p := r.next()
		defer p.exit(0)
		for what, test := range map[string]struct {
			f    rdev.Filter
			want []int
			more bool // behind the last of them
		}{
			"all":     {rdev.Filter{}, []int{3, 2, 1, 0}, false},
			"project": {rdev.Filter{Project: "web"}, []int{2, 0}, false},
			"by":      {rdev.Filter{By: ada.Name}, []int{3, 2, 0}, false},
			"queued":  {rdev.Filter{Status: rdev.Queued}, []int{3, 2}, false},
			"running": {rdev.Filter{Status: rdev.Running}, []int{1}, false},
			"ended":   {rdev.Filter{Status: rdev.Ended}, []int{0}, false},
			"limit":   {rdev.Filter{Limit: 2}, []int{3, 2}, true},
			"after":   {rdev.Filter{After: all[2].ID, Limit: 1}, []int{1}, true},
			"last":    {rdev.Filter{After: all[2].ID, Limit: 2}, []int{1, 0}, false},
			"full":    {rdev.Filter{Limit: 4}, []int{3, 2, 1, 0}, false},
			"since":   {rdev.Filter{Since: time.Now().Add(time.Hour)}, []int{3, 2, 1}, false},
			"both":    {rdev.Filter{By: ada.Name, Project: "api"}, []int{3}, false},
			"none":    {rdev.Filter{Project: "x' OR 1=1 --"}, nil, false},
		} {
			list, err := r.s.Commands(t.Context(), test.f)
			got := list.Commands
			if err != nil || len(got) != len(test.want) || got == nil {
				t.Errorf("%s: %d commands, %v", what, len(got), err)
				continue
			}
			next := ""
			if test.more {
				next = all[test.want[len(test.want)-1]].ID
			}
			if list.Next != next {
				t.Errorf("%s: next is %q, want %q", what, list.Next, next)
			}
			for i, c := range got {
				if c.ID != all[test.want[i]].ID {
					t.Errorf("%s: command %d is %s", what, i, c.ID)
				}
				if c.Status == rdev.Queued != (c.Place > 0) {
					t.Errorf("%s: %+v", what, c)
				}
			}
		}
		for _, f := range []rdev.Filter{{Status: "odd"}, {Limit: -1}, {Limit: rdev.MaxPage + 1}} {
			if _, err := r.s.Commands(t.Context(), f); !errors.Is(err, rdev.ErrInvalid) {
				t.Errorf("%+v: %v", f, err)
			}
		}
	})
}

// A page ends early where requests are long, and goes on behind it.
func TestPageIsBounded(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.open()
		argv := []string{"true"}
		for range 15 {
			argv = append(argv, strings.Repeat("x", 100_000))
		}
		for range 8 {
			r.submit(ada, "web", rdev.Request{Argv: argv})
		}
		seen, pages := 0, 0
		for f := (rdev.Filter{}); ; pages++ {
			list, err := r.s.Commands(t.Context(), f)
			if err != nil || len(list.Commands) == 0 {
				t.Fatalf("%+v, %v", list, err)
			}
			seen += len(list.Commands)
			if f.After = list.Next; f.After == "" {
				break
			}
		}
		if seen != 8 || pages != 2 {
			t.Errorf("%d commands on %d pages", seen, pages)
		}
	})
}
