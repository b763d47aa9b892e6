package alerts

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"stella/internal/jsonstream"
)

// maxLabels bounds the labels of one alert, in bytes of names and values. Real ones have some hundred; all else of an alert is not kept.
const maxLabels = 64 << 10

// state is what an alert is in.
type state string

const (
	firing     state = "firing"
	pending    state = "pending"
	suppressed state = "suppressed"
)

// alert is one, of which one is held at a time.
type alert struct {
	labels map[string]string
	state  state
	since  time.Time
}

func (a *alert) name() string { return a.labels["alertname"] }

// String is the alert with its labels in order: PVCStuckPending{namespace="hermes"} since 2026-05-30T03:33:00Z.
func (a *alert) String() string {
	var b strings.Builder
	b.WriteString(printable(a.name()))
	separator := "{"
	for _, name := range slices.Sorted(maps.Keys(a.labels)) {
		if name == "alertname" {
			continue
		}
		fmt.Fprintf(&b, "%s%s=%q", separator, printable(name), a.labels[name])
		separator = ", "
	}
	if separator != "{" {
		b.WriteByte('}')
	}
	if a.state == pending {
		b.WriteString(" pending")
	}
	if !a.since.IsZero() {
		b.WriteString(" since " + a.since.UTC().Format(time.RFC3339))
	}
	return b.String()
}

// printable is a name as it is, or in quotes where it is none of the usual ones.
func printable(name string) string {
	usual := func(r rune) bool {
		return r == '_' || r == ':' || r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if name != "" && strings.IndexFunc(name, func(r rune) bool { return !usual(r) }) < 0 {
		return name
	}
	return strconv.Quote(name)
}

var errTwice = errors.New("the answer says a thing twice")

// once calls take, which reads a member's value, if that member has not been there yet.
func once(seen *bool, take func() error) error {
	if *seen {
		return errTwice
	}
	*seen = true
	return take()
}

// read reads an answer.
func read(d *jsonstream.Decoder, from Kind, each func(*alert)) error {
	if from == Prometheus {
		return readPrometheus(d, each)
	}
	if err := readAlerts(d, alertmanager, each); err != nil {
		return fmt.Errorf("the answer is not that of Alertmanager: %w", err)
	}
	return nil
}

// readPrometheus reads the answer of /api/v1/alerts. It says success, or why not, before or after what it has.
func readPrometheus(d *jsonstream.Decoder, each func(*alert)) error {
	var said, data, alerts bool
	var status, trouble string
	warnings := 0
	err := d.Object(func(key string) (err error) {
		switch key {
		case "status":
			return once(&said, func() error { status, err = d.String(); return err })
		case "error":
			trouble, err = d.Text()
		case "warnings":
			if d.Kind() != jsonstream.Null {
				err = d.Array(func(int) error { warnings++; return nil })
			}
		case "data":
			return once(&data, func() error {
				return d.Object(func(key string) error {
					if key != "alerts" {
						return nil
					}
					return once(&alerts, func() error { return readAlerts(d, prometheus, each) })
				})
			})
		}
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("the answer is not that of Prometheus: %w", err)
	case status != "success":
		return fmt.Errorf("the answer is %.16q, not success: %.256q", status, trouble)
	case !alerts:
		return errors.New("the answer has no list of alerts")
	case warnings > 0:
		return fmt.Errorf("the answer has %d warnings, so it may not be whole", warnings)
	}
	return nil
}

// dialect is how one of the two writes an alert.
type dialect struct {
	since, state string // the members that say so
	readState    func(d *jsonstream.Decoder) (string, error)
	states       map[string]state
}

var prometheus = dialect{
	since: "activeAt", state: "state", readState: (*jsonstream.Decoder).String,
	states: map[string]state{"firing": firing, "pending": pending},
}

var alertmanager = dialect{
	since: "startsAt", state: "status", readState: func(d *jsonstream.Decoder) (name string, err error) {
		seen := false
		err = d.Object(func(key string) error {
			if key != "state" {
				return nil
			}
			return once(&seen, func() error { name, err = d.String(); return err })
		})
		return name, err
	},
	// An unprocessed one is new: whether it is silenced is not known yet.
	states: map[string]state{"active": firing, "unprocessed": firing, "suppressed": suppressed},
}

func readAlerts(d *jsonstream.Decoder, as dialect, each func(*alert)) error {
	a := alert{labels: map[string]string{}}
	return d.Array(func(i int) error {
		if err := a.read(d, as); err != nil {
			return fmt.Errorf("alert %d: %w", i+1, err)
		}
		each(&a)
		return nil
	})
}

// read reads an alert in the place of the one before.
func (a *alert) read(d *jsonstream.Decoder, as dialect) error {
	clear(a.labels)
	a.state, a.since = "", time.Time{}
	var labelled, stated, dated bool
	err := d.Object(func(key string) error {
		switch key {
		case "labels":
			return once(&labelled, func() error { return a.readLabels(d) })
		case as.state:
			return once(&stated, func() error {
				name, err := as.readState(d)
				a.state = as.states[name]
				if err == nil && a.state == "" {
					err = fmt.Errorf("it is %.64q, which means nothing here", name)
				}
				return err
			})
		case as.since:
			return once(&dated, func() error {
				text, err := d.String()
				if err == nil {
					a.since, err = time.Parse(time.RFC3339, text)
				}
				return err
			})
		}
		return nil
	})
	if err == nil && (a.state == "" || !dated || len(a.labels) == 0) {
		err = errors.New("it lacks labels, a state or a time")
	}
	return err
}

func (a *alert) readLabels(d *jsonstream.Decoder) error {
	size, overlong := 0, d.Overlong()
	err := d.Object(func(name string) error {
		value, err := d.String()
		if errors.Is(err, jsonstream.ErrTooLong) {
			return fmt.Errorf("%w: the label %.64q", errTooLarge, name)
		}
		if err != nil {
			return fmt.Errorf("the label %.64q: %w", name, err)
		}
		if size += len(name) + len(value); size > maxLabels {
			return fmt.Errorf("%w: labels of more than %d bytes", errTooLarge, maxLabels)
		}
		if _, ok := a.labels[name]; ok {
			return errTwice
		}
		a.labels[name] = value
		return nil
	})
	if err == nil && d.Overlong() > overlong {
		err = fmt.Errorf("%w: the name of a label", errTooLarge)
	}
	return err
}
