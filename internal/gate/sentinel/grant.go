package sentinel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxGrant bounds what is read of a gated file, in bytes. A grant has some hundred.
const maxGrant = 16 << 10

// ErrLapsed says that a grant is over.
var ErrLapsed = errors.New("the grant is over")

// Instant is a moment of this machine.
type Instant struct {
	// Boot is the kernel's name of the time since the last reboot, /proc/sys/kernel/random/boot_id.
	Boot string `json:"boot"`
	// Uptime is how long that has been, as CLOCK_BOOTTIME tells it: with the time in which the machine was suspended.
	Uptime time.Duration `json:"uptime_ns"`
}

// Now is the present.
func Now() (Instant, error) {
	const file = "/proc/sys/kernel/random/boot_id"
	boot, err := os.ReadFile(file)
	if err != nil {
		return Instant{}, fmt.Errorf("which boot of the machine this is: %w", err)
	}
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return Instant{}, fmt.Errorf("how long the machine has been up: %w", err)
	}
	i := Instant{Boot: strings.TrimSpace(string(boot)), Uptime: time.Duration(t.Nano())}
	if i.Boot == "" {
		return Instant{}, fmt.Errorf("which boot of the machine this is: %s is empty", file)
	}
	return i, nil
}

// Grant is what the gated file says: one line of JSON, for people and for [Valid].
type Grant struct {
	Node string `json:"node"`
	// AllowedAt is since when the node may be rebooted, RenewedAt when that was last found, and ValidUntil when it ends: by the node's clock, for people.
	AllowedAt  time.Time `json:"allowed_at"`
	RenewedAt  time.Time `json:"renewed_at"`
	ValidUntil time.Time `json:"valid_until"`
	// Reason says why, to people.
	Reason string `json:"reason"`
	// Checks are the names of those that passed.
	Checks []string `json:"checks"`
	// Renewed and Until are RenewedAt and ValidUntil for programs.
	Renewed Instant `json:"renewed"`
	Until   Instant `json:"until"`
}

// Valid reads the gated file, and returns its grant if that is not over at now. The error matches [fs.ErrNotExist] where there is no file, and [ErrLapsed]
// where the grant is over; any other says that nobody can tell.
func Valid(path string, now Instant) (*Grant, error) {
	g, err := read(path)
	if err == nil {
		err = g.check(now)
	}
	if err != nil {
		return nil, fmt.Errorf("the gated sentinel %s: %w", path, err)
	}
	return g, nil
}

// check is nil while a grant holds. A time that is still to come when it was renewed was not made by a gate.
func (g *Grant) check(now Instant) error {
	switch {
	case g.Until.Boot != now.Boot:
		return fmt.Errorf("%w: it is from before the last reboot", ErrLapsed)
	case now.Uptime >= g.Until.Uptime:
		return fmt.Errorf("%w: it ended %v ago", ErrLapsed, (now.Uptime - g.Until.Uptime).Round(time.Millisecond))
	case g.Renewed.Boot != now.Boot || g.Renewed.Uptime > now.Uptime:
		return errors.New("it was renewed at a time that is still to come")
	}
	return nil
}

// read reads a gated file. It follows no symbolic link and waits for nobody.
func read(path string) (*Grant, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is no file")}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxGrant+1))
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// parse reads the text of a grant.
func parse(text []byte) (*Grant, error) {
	if len(text) > maxGrant {
		return nil, fmt.Errorf("it has more than %d bytes: no grant is as long", maxGrant)
	}
	g := new(Grant)
	if err := json.Unmarshal(bytes.TrimSpace(text), g); err != nil {
		return nil, fmt.Errorf("it is no grant: %w", err)
	}
	if g.Node == "" || g.Until.Boot == "" {
		return nil, errors.New("it is no grant: it names no node, or no end")
	}
	return g, nil
}
