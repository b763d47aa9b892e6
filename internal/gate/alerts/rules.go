package alerts

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"stella/internal/gate"
)

const (
	// maxRules bounds the rules of a file. People keep it, each with a date: some dozen.
	maxRules = 200
	// maxRuleFile bounds it, in bytes: so many rules, each longer than the one below. Reading YAML takes up to a hundred times the memory.
	maxRuleFile = 64 << 10
	// maxMatchers bounds those of one rule, and maxText its reason and by, in bytes.
	maxMatchers, maxText = 16, 256
	// maxSteps bounds the regular expressions of all rules together: they have 1.3 MiB then.
	maxSteps = 20_000
	// MaxIgnore is how long a rule may still last when it is read. Whatever fires that long is not an exception any more, but
	// an alert to mend or to drop; and a rule that is forgotten must not outlast whoever wrote it by years.
	MaxIgnore = 90 * 24 * time.Hour
)

// Rules is how a file of ignore rules is written, in YAML. An alert is ignored that all matchers of a rule match; see the package for the
// rest. All fields are needed.
//
//	ignore:
//	  - matchers: ['alertname="PVCStuckPending"', 'namespace=~"hermes.*"']
//	    until: 2026-06-30T00:00:00Z # at most MaxIgnore from now
//	    reason: hermes is parked
//	    by: ann
type Rules struct {
	Ignore []IgnoreRule `yaml:"ignore"`
}

// IgnoreRule is one of [Rules].
type IgnoreRule struct {
	Matchers []words `yaml:"matchers"`
	Until    words   `yaml:"until"`
	Reason   words   `yaml:"reason"`
	By       words   `yaml:"by"`
}

// words are text, and the line that it is on.
type words struct {
	text string
	line int
}

// UnmarshalYAML reads them.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if tag := n.ShortTag(); n.Kind != yaml.ScalarNode || tag != "!!str" && tag != "!!timestamp" {
		return fmt.Errorf("line %d: this is to be text: put it in quotes", n.Line)
	}
	w.text, w.line = n.Value, n.Line
	return nil
}

// rule is one that was read.
type rule struct {
	number     int // from 1, in the file
	matchers   []matcher
	until      time.Time
	reason, by string
}

func (r *rule) lapsed(now time.Time) bool { return !now.Before(r.until) }

func (r *rule) ignores(labels map[string]string, now time.Time) bool {
	if r.lapsed(now) {
		return false
	}
	for i := range r.matchers {
		if !r.matchers[i].matches(labels) {
			return false
		}
	}
	return true
}

func (r *rule) String() string {
	return fmt.Sprintf("rule %d until %s (%s, by %s)", r.number, r.until.UTC().Format(time.RFC3339), r.reason, r.by)
}

// ruleFile is a file of ignore rules, which is read for each look: a ConfigMap's changes by having another one put in its place.
type ruleFile struct {
	name  string // "" is none
	sum   [sha256.Size]byte
	rules []*rule
}

// read is the rules that the file has now.
func (f *ruleFile) read(now time.Time) ([]*rule, error) {
	if f.name == "" {
		return nil, nil
	}
	file, err := os.Open(f.name)
	if err != nil {
		return nil, fmt.Errorf("the ignore rules: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxRuleFile+1))
	if err != nil {
		return nil, fmt.Errorf("the ignore rules: %w", err)
	}
	if len(text) > maxRuleFile {
		return nil, fmt.Errorf("the ignore rules: %s has more than %d bytes", f.name, maxRuleFile)
	}
	if sum := sha256.Sum256(text); sum != f.sum {
		rules, err := parseRules(text, now)
		if err != nil {
			return nil, fmt.Errorf("the ignore rules in %s: %w", f.name, err)
		}
		f.rules, f.sum = rules, sum
	}
	return f.rules, nil
}

// parseRules reads a file. One thing that is wrong, even with one rule, is an error of all: else a rule could be thought to hold.
func parseRules(text []byte, now time.Time) ([]*rule, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var file Rules
	var wrong *yaml.TypeError
	switch err := d.Decode(&file); {
	case errors.As(err, &wrong):
		return nil, errors.New(strings.Join(wrong.Errors[:min(len(wrong.Errors), gate.MaxNames)], "; "))
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	}
	if d.Decode(new(yaml.Node)) != io.EOF {
		return nil, errors.New("there is more than one document")
	}
	if file.Ignore == nil {
		return nil, errors.New("there is no list named ignore; one without rules is ignore: []")
	}
	if len(file.Ignore) > maxRules {
		return nil, fmt.Errorf("%d rules, and there may be %d", len(file.Ignore), maxRules)
	}
	rules := make([]*rule, 0, len(file.Ignore))
	total := 0
	for i, from := range file.Ignore {
		r := &rule{number: i + 1}
		err := r.match(from.Matchers, &total)
		if err == nil {
			err = r.last(from, now)
		}
		if err != nil {
			return nil, fmt.Errorf("rule %d%s: %w", r.number, from.place(), err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// place says where in the file a rule is, if it has anything.
func (from *IgnoreRule) place() string {
	line := max(from.Until.line, from.Reason.line, from.By.line)
	for _, m := range from.Matchers {
		line = max(line, m.line)
	}
	if line == 0 {
		return ""
	}
	return fmt.Sprintf(", which ends on line %d", line)
}

// match takes the matchers of a rule. total is the steps of those before it, too.
func (r *rule) match(all []words, total *int) error {
	if len(all) == 0 || len(all) > maxMatchers {
		return fmt.Errorf("it has %d matchers, and may have 1 to %d", len(all), maxMatchers)
	}
	pinned := false
	for _, w := range all {
		m, err := parseMatcher(w.text)
		if err != nil {
			return fmt.Errorf("line %d: matcher %.256q: %w", w.line, w.text, err)
		}
		if *total += m.steps; *total > maxSteps {
			return fmt.Errorf("line %d: the regular expressions of all rules so far take %d steps, and may take %d", w.line, *total, maxSteps)
		}
		pinned = pinned || m.pins
		r.matchers = append(r.matchers, m)
	}
	if !pinned {
		return fmt.Errorf(`line %d: its matchers match nearly all alerts: have one that asks for something, such as alertname="Name"`, all[0].line)
	}
	return nil
}

// last takes until when a rule lasts, why, and who answers for it.
func (r *rule) last(from IgnoreRule, now time.Time) (err error) {
	until, reason, by := from.Until, from.Reason, from.By
	switch {
	case until.text == "":
		return errors.New("it has no until: a rule has an end, such as " + now.Add(7*24*time.Hour).UTC().Format(time.DateOnly) + "T00:00:00Z")
	case strings.TrimSpace(reason.text) == "":
		return errors.New("it has no reason")
	case strings.TrimSpace(by.text) == "":
		return errors.New("it has no by: who answers for it")
	case len(reason.text) > maxText || len(by.text) > maxText:
		return fmt.Errorf("its reason and by may have %d bytes each", maxText)
	}
	if r.until, err = time.Parse(time.RFC3339, until.text); err != nil {
		return fmt.Errorf("until is no time like 2026-06-30T00:00:00Z: %w", err)
	}
	if r.until.Sub(now) > MaxIgnore {
		return fmt.Errorf("until %s is more than %d days away", until.text, MaxIgnore/(24*time.Hour))
	}
	r.reason, r.by = reason.text, by.text
	return nil
}
