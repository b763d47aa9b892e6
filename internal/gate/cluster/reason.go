package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"

	"stella/internal/gate"
	"stella/internal/kube"
)

// Reasons why an answer of the API could not be had, for all checks: see [Reason].
const (
	ReasonUnreachable  = "unreachable"   // no connection, or it broke
	ReasonUnauthorized = "unauthorized"  // 401, or our credentials cannot be read
	ReasonForbidden    = "forbidden"     // 403
	ReasonNotFound     = "not_found"     // 404
	ReasonThrottled    = "throttled"     // 429
	ReasonServerError  = "server_error"  // 5xx
	ReasonTimeout      = "timeout"       // no answer in time
	ReasonRedirected   = "redirected"    // 3xx: an API server redirects nobody
	ReasonTooLarge     = "too_large"     // more than is read
	ReasonBadAnswer    = "bad_answer"    // an answer, and not what was asked for
	ReasonNodeMissing  = "node_missing"  // the own node is unknown to the server
	ReasonNoNodes      = "no_nodes"      // the server lists none
	ReasonNoClock      = "no_clock"      // the server does not tell the time
	ReasonNotReady     = "not_ready"     // nodes: not Ready
	ReasonCordoned     = "cordoned"      // nodes: another node is
	ReasonTooFew       = "too_few"       // control_plane, workloads: fewer than the minimum
	ReasonUnhealthy    = "unhealthy"     // workloads: a pod is not ready, or being deleted
	ReasonNoPods       = "no_pods"       // workloads: there are none
	ReasonRollingOut   = "rolling_out"   // workloads: a DaemonSet is not everywhere as it should be
	ReasonNone         = "none_named"    // workloads: the check was given nothing to look at
	ReasonSoaking      = "soaking"       // soak: a node was booted too recently
	ReasonRebooted     = "rebooted"      // soak: a node was booted, and its gate has not said when
	ReasonNotTold      = "not_told"      // soak: a node whose gate never said when
	ReasonNoBoot       = "no_boot"       // soak: this machine does not say when it was booted
	ReasonUnreadable   = "unreadable"    // soak, hold: an annotation cannot be read
	ReasonUnbound      = "unbound"       // claims: one is
	ReasonNoDisruption = "no_disruption" // budgets: one allows no eviction now
	ReasonOutdated     = "outdated"      // budgets: the status of one is older than the budget
	ReasonOverlapping  = "overlapping"   // budgets: a pod has two, which the server never evicts
	ReasonBadSelector  = "bad_selector"  // budgets: one cannot be understood
	ReasonHeld         = "held"          // hold: a person said so
)

// reasoned is an error that has a reason of its own.
type reasoned struct {
	reason string
	error
}

func (r *reasoned) Unwrap() error { return r.error }

func because(reason string, err error) error { return &reasoned{reason, err} }

// cannotTell is the result where an error ended a check.
func cannotTell(err error) gate.Result { return gate.CannotTell(Reason(err), err) }

// Reason is the word for an error of package kube, for metrics. What is no error of the connection, and no status, is a bad answer.
func Reason(err error) string {
	var own *reasoned
	var status *kube.StatusError
	var request *url.Error
	var connection net.Error
	var file *fs.PathError
	switch {
	case errors.As(err, &own):
		return own.reason
	case errors.As(err, &status):
		return ofStatus(status.Code)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return ReasonTimeout
	case errors.Is(err, kube.ErrTooLarge):
		return ReasonTooLarge
	case errors.As(err, &file):
		return ReasonUnauthorized
	case errors.As(err, &connection) && connection.Timeout():
		return ReasonTimeout
	case errors.As(err, &request), errors.As(err, &connection):
		return ReasonUnreachable
	}
	return ReasonBadAnswer
}

func ofStatus(code int) string {
	switch {
	case code == http.StatusUnauthorized:
		return ReasonUnauthorized
	case code == http.StatusForbidden:
		return ReasonForbidden
	case code == http.StatusNotFound:
		return ReasonNotFound
	case code == http.StatusTooManyRequests:
		return ReasonThrottled
	case code >= 500:
		return ReasonServerError
	case code >= 300 && code < 400:
		return ReasonRedirected
	}
	return ReasonBadAnswer
}

// names counts, and keeps the first names.
type names struct {
	count int
	first []string
}

func (n *names) add(format string, args ...any) {
	if n.count++; len(n.first) < gate.MaxNames {
		n.first = append(n.first, fmt.Sprintf(format, args...))
	}
}

func (n *names) String() string {
	s := strings.Join(n.first, ", ")
	if more := n.count - len(n.first); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// blocked is a result that names what blocks.
func (n *names) blocked(reason, clears, format string, args ...any) gate.Result {
	r := gate.Blocked(reason, clears, format+": %s", append(args, n)...)
	r.Blockers = n.first
	return r
}
