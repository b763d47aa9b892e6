package pods

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"stella/internal/rdev/run"
)

// Marker is the variable that every command in a pod has, with its ID: it is how all processes of it are found.
const Marker = "STELLA_RDEV_COMMAND"

// Exit codes of the wrapper before it has said anything.
const (
	noDirectory = 125
	noProgram   = 127
)

// kills is a function that prints how many processes of the container the kernel has killed for want of memory, on cgroup v2 or v1.
const kills = `stella_kills() {
for stella_f in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
[ -r "$stella_f" ] || continue
while read -r stella_a stella_b; do [ "$stella_a" = oom_kill ] && echo "$stella_b"; done <"$stella_f"
return 0
done
}
`

// wrapper runs a command: its arguments are the ID, 1 where there is input, the directory, how many variables there are, the variables, and the
// program with its arguments. It first prints a line for us: the ID, the number of the process group, and the kills so far. It
// stays, because whoever is behind it must be able to end its process group, and does not end with it by SIGTERM so that it can
// say how the program ended; it ends what the program left in the group; and it reads the input that the program did
// not: else an exec can hang for ever (kubectl's too, against containerd 1.6: 16 of 40 with 1 MiB for true).
const wrapper = kills + `stella_id=$1 stella_in=$2 stella_dir=$3 stella_n=$4
shift 4
while [ "$stella_n" -gt 0 ]; do export "$1"; shift; stella_n=$((stella_n - 1)); done
if [ -n "$stella_dir" ]; then cd "$stella_dir" || exit 125; PWD=$(pwd); export PWD; fi
command -v "$1" >/dev/null || { echo "there is no program $1 in the container's PATH ($PATH)" >&2; exit 127; }
export ` + Marker + `="$stella_id"
echo "$stella_id $$ $(stella_kills)"
trap : TERM HUP INT
(exec "$@")
stella_s=$?
trap '' TERM
kill -TERM 0
[ "$stella_in" = 0 ] || cat >/dev/null 2>&1 || while read -r stella_a; do :; done
exit $stella_s
`

// ending ends a command: its arguments are the ID, a signal, and the process group, 0 where nobody knows. KILL goes to the group, and to
// all processes with the marker until there are none; other signals go to the group alone, so that nobody hears them twice. It prints a line: the ID, and the kills.
const ending = kills + `echo "$1 $(stella_kills)"
[ "$3" = 0 ] || kill -"$2" -"$3" 2>/dev/null
[ "$2" = KILL ] || exit 0
stella_round=0 stella_found=1
while [ "$stella_found" = 1 ] && [ "$stella_round" -lt 20 ]; do
stella_found=0 stella_round=$((stella_round + 1))
for stella_f in /proc/[0-9]*; do
while read -r stella_line || [ -n "$stella_line" ]; do
case $stella_line in *"` + Marker + `=$1"*) kill -KILL "${stella_f#/proc/}" && stella_found=1;; esac
stella_line=
done <"$stella_f/environ"
done
done 2>/dev/null
exit 0
`

// wrap is what is to be run in the container instead of the command.
func wrap(s run.Spec) ([]string, error) {
	argv := program(s)
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("no program was named")
	}
	if s.Shell != "" && len(s.Argv) > 0 {
		return nil, errors.New("it has both a program and a line for the shell: give one")
	}
	input := "0"
	if s.Stdin != nil {
		input = "1"
	}
	all := []string{"sh", "-c", wrapper, "sh", s.ID, input, s.Dir, strconv.Itoa(len(s.Env))}
	for _, e := range s.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || !variable(name) {
			return nil, fmt.Errorf("%q is no name of a variable: it has letters, digits and underscores", name)
		}
		all = append(all, e)
	}
	all = append(all, argv...)
	for _, a := range all {
		if strings.ContainsRune(a, 0) {
			return nil, errors.New("an argument or variable has a NUL byte in it")
		}
	}
	return all, nil
}

func program(s run.Spec) []string {
	if s.Shell != "" {
		return []string{"sh", "-c", s.Shell}
	}
	return s.Argv
}

// variable reports whether a shell takes a name for a variable.
func variable(name string) bool {
	for i, r := range []byte(name) {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// maxGreeting bounds the wrapper's line, and what may be on stderr before it.
const maxGreeting = 4 << 10

// greeting is what the wrapper says first. It is the beginning of stdout, and taken out of it.
type greeting struct {
	id string
	// stdout and stderr get the rest.
	stdout, stderr io.Writer
	// began is closed between, when group and kills are known.
	began chan struct{}

	text  []byte // what came, until done
	early []byte // of stderr, until done
	done  bool
	group int
	kills int64 // -1 where the container does not say
}

// out takes what came on stdout.
func (g *greeting) out(piece []byte) error {
	if g.done {
		return write(g.stdout, piece)
	}
	g.text = append(g.text, piece...)
	line, rest, whole := bytes.Cut(g.text, []byte("\n"))
	if !whole {
		if len(g.text) > maxGreeting {
			return fmt.Errorf("the container's sh does not do what a shell does: it said %q", g.text[:64])
		}
		return nil
	}
	f := strings.Fields(string(line))
	if len(f) < 2 || f[0] != g.id {
		return fmt.Errorf("the container's sh does not do what a shell does: it said %q", line[:min(len(line), 64)])
	}
	var err error
	if g.group, err = strconv.Atoi(f[1]); err != nil || g.group <= 1 {
		return fmt.Errorf("the container's sh has the number %q", f[1])
	}
	g.kills = parseKills(f[2:])
	g.done = true
	close(g.began)
	if err := write(g.stderr, g.early); err != nil {
		return err
	}
	g.early = nil
	return write(g.stdout, rest)
}

// err takes what came on stderr: before the greeting, it is why there was none.
func (g *greeting) err(piece []byte) error {
	if g.done {
		return write(g.stderr, piece)
	}
	if g.early = append(g.early, piece...); len(g.early) > maxGreeting+chunk {
		return errors.New("the container's sh says too much before it begins")
	}
	return nil
}

// parseKills reads the counter that may be at the end of a line; -1 is none.
func parseKills(fields []string) int64 {
	if len(fields) != 1 {
		return -1
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// write writes to a writer that may be nil.
func write(w io.Writer, p []byte) error {
	if w == nil || len(p) == 0 {
		return nil
	}
	_, err := w.Write(p)
	return err
}
