// Package alerts lets no node reboot while alerts fire, except those that a rule ignores until a date.
//
// Words: alerts are asked of a Prometheus (GET /api/v1/alerts: what its own rules found) or of an Alertmanager (GET /api/v2/alerts: what
// anybody sent to it). An alert fires if Prometheus calls it firing, or Alertmanager active or unprocessed; it is suppressed if Alertmanager
// silences, inhibits or mutes it, which does not block. The watchdog is an alert that always fires. An ignore rule has matchers
// as Alertmanager has them, of which all have to match, and an end, after which it has lapsed: it ignores nothing, and is told about.
//
// Why not the query ALERTS, as kured does: its answer does not say since when; it is of samples, which a Prometheus that evaluates no rules any
// more still has for five minutes; and one that stands for several answers with what it could reach. vmalert, Thanos' ruler and Mimir's have
// the same /api/v1/alerts: ask whoever evaluates the rules.
//
// An empty answer is what a healthy cluster gives, and also a Prometheus that has just started or found no rules, and an Alertmanager
// that nobody sends to. So there has to be a watchdog, and without it the answer is not believed.
//
// Hazards:
//   - A rule that Prometheus fails to evaluate has no alerts. Have its own alert PrometheusRuleFailures (or one like it) fire then.
//   - For an evaluation interval after a start of Prometheus, the watchdog can be there before other alerts are.
//   - An ignore rule lapses by this node's clock.
//   - Environment variables such as HTTPS_PROXY are not looked at: the token is for the named server alone.
package alerts

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/cluster"
)

// Kind is who is asked.
type Kind string

// The kinds.
const (
	Prometheus   Kind = "prometheus"
	Alertmanager Kind = "alertmanager"
)

// The reasons of the check, beside those of [cluster.Reason].
const (
	// ReasonFiring is that an alert fires, or is pending where that counts. Blockers are such alerts.
	ReasonFiring = "firing"
	// ReasonNoWatchdog is that the alert does not fire that always should.
	ReasonNoWatchdog = "no_watchdog"
	// ReasonRules is that the file of ignore rules cannot be read, or is wrong.
	ReasonRules = "bad_rules"
	// ReasonCredentials is that the file of the token or of the certificates cannot be read.
	ReasonCredentials = "credentials"
)

// timeout bounds a look. An answer of 5,000 alerts takes a tenth of a second.
const timeout = 30 * time.Second

// Options say whom to ask, and what counts.
type Options struct {
	Kind Kind
	// URL is where it is, such as http://prometheus.monitoring:9090, perhaps with a path.
	URL string
	// TokenFile has a bearer token, which is read for each look; only with https. "" is none.
	TokenFile string
	// CAFile has the certificates, as PEM, that sign the server's. "" is those of the system.
	CAFile string
	// Watchdog is the name of an alert that always fires. It is needed.
	Watchdog string
	// Pending has alerts count that Prometheus still waits for.
	Pending bool
	// IgnoreFile has ignore rules; see [Rules]. "" is none.
	IgnoreFile string
}

func (o Options) validate() (*url.URL, error) {
	if o.Kind != Prometheus && o.Kind != Alertmanager {
		return nil, fmt.Errorf("alerts of %q: it is %s or %s", o.Kind, Prometheus, Alertmanager)
	}
	if o.Watchdog == "" {
		return nil, fmt.Errorf("alerts of %s: name an alert that always fires (the expression vector(1)), often called Watchdog: without one, an answer without alerts cannot be told from nobody evaluating rules", o.Kind)
	}
	u, err := url.Parse(o.URL)
	var wrong *url.Error
	switch {
	case errors.As(err, &wrong):
		return nil, fmt.Errorf("alerts of %s: the address: %w", o.Kind, wrong.Err) // without the address, which can have a password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("alerts of %s: %q is no address like http://%s:9090", o.Kind, u.Redacted(), o.Kind)
	case u.User != nil:
		return nil, fmt.Errorf("alerts of %s: %q has a password, which would be told to everybody: use a file with a token", o.Kind, u.Redacted())
	case o.TokenFile != "" && u.Scheme != "https":
		return nil, fmt.Errorf("alerts of %s: the token would go to %s in the clear: use https", o.Kind, u.Redacted())
	}
	if o.Kind == Prometheus {
		return u.JoinPath("api/v1/alerts"), nil
	}
	return u.JoinPath("api/v2/alerts"), nil
}

// OwnLabel with OwnValue is on an alert that tells of the gate or of nodes that wait for it, as those of deploy/alerts/gate.yaml do. If such an
// alert kept the gate shut, a node that has waited long enough for it to fire would wait for ever.
const (
	OwnLabel = "stella_gate"
	OwnValue = "ignores"
)

// Check passes while no alert fires but the watchdog and those that rules ignore. An error is about the options.
func Check(o Options) (gate.Check, error) {
	address, err := o.validate()
	if err != nil {
		return gate.Check{}, err
	}
	l := &looker{options: o, address: address, rules: ruleFile{name: o.IgnoreFile}}
	return gate.Check{Name: "alerts", Timeout: timeout, Run: l.look}, nil
}

type looker struct {
	options Options
	address *url.URL
	rules   ruleFile
}

func (l *looker) look(ctx context.Context) gate.Result {
	now := time.Now()
	rules, err := l.rules.read(now)
	if err != nil {
		return gate.CannotTell(ReasonRules, err)
	}
	t := newTally(l.options, rules, now)
	if err := ask(ctx, l.options, l.address, t.add); err != nil {
		return gate.CannotTell(reason(err), fmt.Errorf("ask %s for alerts: %w", l.address.Redacted(), err))
	}
	return t.result()
}

func reason(err error) string {
	switch {
	case errors.Is(err, errTooLarge):
		return cluster.ReasonTooLarge
	case errors.Is(err, errCredentials):
		return ReasonCredentials
	}
	return cluster.Reason(err)
}
