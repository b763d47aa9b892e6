package sentinel

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNow(t *testing.T) {
	a, b := now(t), now(t)
	if a.Boot == "" || a.Boot != b.Boot || a.Uptime <= 0 || b.Uptime < a.Uptime {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestValid(t *testing.T) {
	f, path := open(t)
	if _, err := Valid(path, now(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	want := Grant{Node: "n1", AllowedAt: time.Now().UTC().Round(time.Second), Reason: "all is well", Checks: []string{"nodes", "alerts"}}
	if err := f.Allow(want, time.Minute); err != nil {
		t.Fatal(err)
	}
	i := now(t)
	g, err := Valid(path, i)
	if err != nil {
		t.Fatal(err)
	}
	if g.ValidUntil.Sub(g.RenewedAt) != time.Minute || g.Until.Uptime-g.Renewed.Uptime != time.Minute || g.Until.Boot != i.Boot {
		t.Errorf("the times of %+v", g)
	}
	g.RenewedAt, g.ValidUntil, g.Renewed, g.Until = time.Time{}, time.Time{}, Instant{}, Instant{}
	if diff := cmp.Diff(&want, g); diff != "" {
		t.Error(diff)
	}
	i.Uptime += 2 * time.Minute
	if _, err := Valid(path, i); !errors.Is(err, ErrLapsed) {
		t.Errorf("after its end: %v", err)
	}
	if _, err := Valid(path, Instant{Boot: "other"}); !errors.Is(err, ErrLapsed) {
		t.Errorf("after a reboot: %v", err)
	}
}

// Whoever sets the clock makes no grant longer or shorter.
func TestValidWhateverTheClockShows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gated")
	i := Instant{Boot: "b", Uptime: time.Hour}
	for _, wall := range []time.Time{{}, time.Unix(1, 0), time.Now().Add(100 * 365 * 24 * time.Hour)} {
		g := Grant{Node: "n", AllowedAt: wall, RenewedAt: wall, ValidUntil: wall, Renewed: i, Until: Instant{Boot: "b", Uptime: 2 * time.Hour}}
		writeGrant(t, path, g)
		if _, err := Valid(path, i); err != nil {
			t.Errorf("%v: %v", wall, err)
		}
		if _, err := Valid(path, g.Until); !errors.Is(err, ErrLapsed) {
			t.Errorf("%v: %v", wall, err)
		}
	}
}

// What no gate wrote is neither valid nor over.
func TestValidCannotTell(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	i := Instant{Boot: "b", Uptime: time.Hour}
	good := Grant{Node: "n", Renewed: i, Until: Instant{Boot: "b", Uptime: 2 * time.Hour}}
	writeGrant(t, at("good"), good)
	link(t, "good", at("link"))
	mkdir(t, at("directory"))
	if err := syscall.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "null": "null", "array": "[]", "object": "{}", "html": "<html>", "text": "reboot!\n",
		"half": `{"node":"n","until":{"boot":"b"`, "two": `{"node":"n","until":{"boot":"b"}} {}`,
		"huge": `{"node":"` + strings.Repeat("n", maxGrant) + `"}`, "type": `{"node":1}`,
	} {
		writeFile(t, at(name), text)
	}
	future := good
	future.Renewed.Uptime = i.Uptime + 1
	writeGrant(t, at("future"), future)
	strange := good
	strange.Renewed.Boot = "other"
	writeGrant(t, at("strange"), strange)
	if _, err := Valid(at("good"), i); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "directory", "pipe", "empty", "null", "array", "object", "html", "text", "half", "two", "huge", "type", "future", "strange", "good/below"} {
		g, err := Valid(at(name), i)
		if g != nil || err == nil || errors.Is(err, ErrLapsed) || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %+v, %v", name, g, err)
		}
	}
}

// A grant holds only within its own time, in its own boot, whatever the file says.
func FuzzGrant(f *testing.F) {
	f.Add([]byte(`{"node":"n","renewed":{"boot":"b","uptime_ns":1},"until":{"boot":"b","uptime_ns":9}}`), "b", int64(5))
	f.Add([]byte(`{"node":"n","until":{"boot":"b","uptime_ns":9e18}} `), "b", int64(-5))
	f.Add([]byte("null"), "", int64(0))
	f.Fuzz(func(t *testing.T, text []byte, boot string, uptime int64) {
		g, err := parse(text)
		if err != nil {
			if g != nil {
				t.Errorf("a grant beside the error %v", err)
			}
			return
		}
		var raw struct {
			Node  string
			Until struct{ Boot string }
		}
		if json.Unmarshal(text, &raw) != nil || raw.Node == "" || raw.Until.Boot == "" {
			t.Errorf("a grant from %q", text)
		}
		i := Instant{Boot: boot, Uptime: time.Duration(uptime)}
		if g.check(i) == nil && (g.Until.Boot != boot || g.Renewed.Boot != boot || g.Until.Uptime <= i.Uptime || g.Renewed.Uptime > i.Uptime) {
			t.Errorf("%+v holds at %+v", g, i)
		}
	})
}
