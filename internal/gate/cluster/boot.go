package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"stella/internal/kube"
)

// BootAnnotation is on a node: which boot its gate runs in, and when that was, as JSON. The API has the id of a node's boot, in
// status.nodeInfo.bootID, and nowhere its time.
const BootAnnotation = "gate.stella/boot"

// Boot is a start of a system.
type Boot struct {
	// ID is what the kernel drew at random when it started.
	ID string
	// Uptime is how long ago that was, and Read when it was read.
	Uptime time.Duration
	Read   time.Time
}

// ReadBoot reads the boot of the system, proc being the root of a procfs. Both files are the kernel's own, and are not of the container.
// The time that the machine slept counts as time that it ran.
func ReadBoot(proc string) (Boot, error) {
	id, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return Boot{}, fmt.Errorf("which boot this is: %w", err)
	}
	up, err := os.ReadFile(filepath.Join(proc, "uptime"))
	if err != nil {
		return Boot{}, fmt.Errorf("when this machine was booted: %w", err)
	}
	return parseBoot(string(id), string(up))
}

func parseBoot(id, up string) (Boot, error) {
	b := Boot{ID: strings.TrimSpace(id), Read: time.Now()}
	if len(b.ID) != len("0fc542e4-ea54-48ac-946a-98c44b713180") {
		return Boot{}, fmt.Errorf("which boot this is: %.50q is no id of a boot", b.ID)
	}
	first, _, _ := strings.Cut(up, " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil || !(seconds >= 0 && seconds < maxUptime.Seconds()) {
		return Boot{}, fmt.Errorf("when this machine was booted: %.50q is no uptime", up)
	}
	b.Uptime = time.Duration(seconds * float64(time.Second))
	return b, nil
}

// drift is how far two readings of the time of one boot are from each other, at most: by slow answers, and by a server's clock that is being set.
const drift = 10 * time.Minute

// maxUptime is more than any machine runs without a boot, and less than a Duration holds.
const maxUptime = 100 * 365 * 24 * time.Hour

// told is the text of a BootAnnotation.
type told struct {
	ID string `json:"id"`
	// At is when, by the API server's clock: the clocks of nodes differ, and one can be years wrong until somebody sets it.
	At time.Time `json:"at"`
}

func readTold(text string) (told, error) {
	var t told
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return told{}, fmt.Errorf("the annotation %s: %w", BootAnnotation, err)
	}
	if t.ID == "" || t.At.IsZero() {
		return told{}, fmt.Errorf("the annotation %s: it lacks the id or the time", BootAnnotation)
	}
	return t, nil
}

// at is when the boot was by the server's clock, or a little later.
func (b Boot) at(m kube.Moment) time.Time {
	now := time.Now()
	return m.Latest(now).Add(-b.Uptime - now.Sub(b.Read)).UTC()
}

// TellBoot writes a boot to the annotation of the own node, if it does not say so yet: one request, or two. Each gate does so when it starts, also
// where its node wants no reboot, for the gates of others cannot know it otherwise.
func TellBoot(ctx context.Context, client *kube.Client, own string, b Boot) error {
	request := kube.Request{Method: "GET", Query: kube.Query{Resource: kube.Nodes}, Name: own}
	n, m, err := kube.Do[node](ctx, client, request)
	if err != nil {
		return fmt.Errorf("tell when the node was booted: %w", err)
	}
	if m.Server.IsZero() {
		return because(ReasonNoClock, fmt.Errorf("tell when the node was booted: %w", errNoClock))
	}
	at := b.at(m)
	if n.boot != nil {
		if t, err := readTold(*n.boot); err == nil && t.ID == b.ID && t.At.Sub(at).Abs() < drift {
			return nil // the time stays as it is: another reading would be as good
		}
	}
	text, err := json.Marshal(told{ID: b.ID, At: at.Truncate(time.Second).Add(time.Second)})
	if err != nil {
		return fmt.Errorf("tell when the node was booted: %w", err)
	}
	request.Method = "PATCH"
	request.Body = map[string]any{"metadata": map[string]any{"annotations": map[string]string{BootAnnotation: string(text)}}}
	if _, _, err := kube.Do[node](ctx, client, request); err != nil {
		return fmt.Errorf("tell when the node was booted: %w", err)
	}
	return nil
}
