package runbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"stella/internal/store"
)

// commands are what scripts have beside those of package testscript.
var commands = map[string]func(*testscript.TestScript, bool, []string){
	"$":         shell,
	"exit":      exit,
	"until":     until,
	"interrupt": interrupt,
	"json":      value,
	"nobody":    nobody,
	"image":     makeImage,
	"registry":  registry,
	"stellad":   stellad,
	"health":    health,
	"metric":    metric,
	"clock":     clock,
	"sql":       sql,
	"tmpfs":     tmpfs,
}

// shell is the command "[!] $ LINE": sh runs the line. Beware of single quotes,
// which testscript takes away.
func shell(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("timeout", strconv.Itoa(int(patience.Seconds())), "sh", "-c", strings.Join(args, " "))
	of(ts).ended(ts, neg, err)
}

// ended keeps the exit code, and fails the script where it is not as expected.
func (w *world) ended(ts *testscript.TestScript, neg bool, err error) {
	w.code, w.interrupted = 0, nil
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		w.code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if (w.code != 0) != neg {
		ts.Fatalf("exit code %d", w.code)
	}
}

// exit is the command "exit CODE": that was the exit code of the last line that sh
// ran, or of the command that was interrupted and waited for since then.
func exit(ts *testscript.TestScript, neg bool, args []string) {
	w := of(ts)
	code := w.code
	if w.interrupted != nil {
		code = w.interrupted.ProcessState.ExitCode()
	}
	if neg || len(args) != 1 || args[0] != strconv.Itoa(code) {
		ts.Fatalf("exit code %d; want %v", code, args)
	}
}

// interrupt is the command "interrupt": Ctrl-C for the command that was started last in the background.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	all := ts.BackgroundCmds()
	if neg || len(args) > 0 || len(all) == 0 {
		ts.Fatalf("usage: interrupt, after exec ... &")
	}
	w := of(ts)
	w.interrupted = all[len(all)-1]
	ts.Check(w.interrupted.Process.Signal(os.Interrupt))
}

// until is the command "until REGEXP LINE": sh runs the line again and again until
// its output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP LINE")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		cmd := exec.Command("sh", "-c", strings.Join(args[1:], " "))
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "STELLA_SERVER=" + ts.Getenv("STELLA_SERVER")}
		out, err := cmd.CombinedOutput()
		if pattern.Match(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no %q after %v: %v\n%s", args[0], patience, err, out)
		}
	}
}

// value is the command "json PATH [<|>] VALUE": what the last line wrote to standard output
// is JSON, with this value at a path like .layers.0.size; .layers.count is how many there are.
func value(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: json PATH [<|>] VALUE")
	}
	var v any
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	d.UseNumber()
	ts.Check(d.Decode(&v))
	for _, name := range strings.Split(args[0], ".")[1:] {
		v = member(v, name)
	}
	got, want, ok := fmt.Sprint(v), args[len(args)-1], false
	switch strings.Join(args[1:len(args)-1], " ") {
	case "":
		ok = got == want
	case "<":
		ok = number(ts, got) < number(ts, want)
	case ">":
		ok = number(ts, got) > number(ts, want)
	}
	if !ok {
		ts.Fatalf("%s is %s; want %s", args[0], got, strings.Join(args[1:], " "))
	}
}

// member is what a value has under a name, or at an index; nil where it has nothing.
func member(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[name]
	case []any:
		if name == "count" {
			return len(v)
		}
		if i, err := strconv.Atoi(name); err == nil && i < len(v) {
			return v[i]
		}
	}
	return nil
}

func number(ts *testscript.TestScript, text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	ts.Check(err)
	return n
}

// nobodyID is a user who owns nothing here.
const nobodyID = 65534

// nobody is the command "[!] nobody LINE": sh runs the line as another user.
func nobody(ts *testscript.TestScript, neg bool, args []string) {
	cmd := exec.Command("sh", "-c", strings.Join(args, " "))
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "STELLA_SERVER=" + ts.Getenv("STELLA_SERVER")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobodyID, Gid: nobodyID}}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	of(ts).ended(ts, neg, cmd.Run())
}

// tmpfs is the command "tmpfs DIR SIZE": a file system of this size at DIR, until
// the script ends. Where one is there, its size is changed.
func tmpfs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tmpfs DIR SIZE")
	}
	dir := ts.MkAbs(args[0])
	if err := syscall.Mount("stella-test", dir, "tmpfs", syscall.MS_REMOUNT, "size="+args[1]); err == nil {
		return
	}
	ts.Check(syscall.Mount("stella-test", dir, "tmpfs", 0, "size="+args[1]))
	ts.Defer(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			ts.Logf("unmount %s: %v", dir, err)
		}
	})
}

// columns are all times in the database. 0 is never.
var columns = map[string][]string{
	"instances":          {"started", "seen"},
	"settings":           {"changed"},
	"jobs":               {"due", "queued", "submitted", "started", "ended"},
	"attempts":           {"started", "ended"},
	"incident_summaries": {"updated", "ended", "floor"},
	"incident_events":    {"at"},
	"quarantine":         {"at"},
	"events":             {"at"},
	"log_lines":          {"at"},
	"api_keys":           {"created", "expires", "used"},
}

// clock is the command "clock DURATION": the clock of a stellad that has ended is
// set forward by so much, or back where the duration is negative, as far as that can
// be seen: all times in its database are moved the other way.
func clock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: clock DURATION")
	}
	by, err := time.ParseDuration(args[0])
	ts.Check(err)
	var all []string
	for table, names := range columns {
		for _, name := range names {
			all = append(all, fmt.Sprintf("UPDATE %s SET %s = %s - %d WHERE %s > 0", table, name, name, by.Microseconds(), name))
		}
	}
	// An event has its time in itself, too.
	all = append(all, fmt.Sprintf(`UPDATE incident_events SET head = json_set(head, '$.time', strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', json_extract(head, '$.time'), '%+.3f seconds'))`, -by.Seconds()))
	change(ts, all...)
}

// sql is the command "sql STATEMENT": it changes the database of a stellad that has ended.
func sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	change(ts, args[0])
}

func change(ts *testscript.TestScript, statements ...string) {
	ctx := context.Background()
	// A child that another script starts would have a copy of the database's lock, until it is a program of its own.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	db, err := store.Open(ctx, store.Options{URL: "sqlite:" + ts.MkAbs("data/stella.db"), Log: slog.New(slog.DiscardHandler)})
	ts.Check(err)
	err = db.Write(ctx, func(tx *store.Tx) error {
		for _, s := range statements {
			if _, err := tx.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
	ts.Check(errors.Join(err, db.Close()))
}
