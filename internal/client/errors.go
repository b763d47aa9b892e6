package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"unicode"

	"stella/internal/scanner"
)

const (
	// maxProblem is how much of a problem's body is read, in bytes.
	maxProblem = 64 << 10
	// maxReason is the longest quotation of what a server said, in bytes.
	maxReason = 4 << 10
)

// ErrNoServer is matched by errors that say that nobody serves at the address.
var ErrNoServer = errors.New("no server")

// NoServerError says that nobody serves at an address, or not for this user. It
// matches [ErrNoServer], and then also [scanner.ErrDenied].
type NoServerError struct {
	// Server is what there is none of, such as "scanner service".
	Server  string
	Address string
	Reason  string // why, and what to do
	Cause   error
}

// Error is for people.
func (e *NoServerError) Error() string {
	return fmt.Sprintf("no %s at %s: %s", e.Server, e.Address, e.Reason)
}

// Is reports whether target is one that it matches.
func (e *NoServerError) Is(target error) bool {
	return target == ErrNoServer || target == scanner.ErrDenied && errors.Is(e.Cause, fs.ErrPermission)
}

// Unwrap is the cause.
func (e *NoServerError) Unwrap() error { return e.Cause }

// unreachable makes a NoServerError of what connecting returned, and nil of other errors.
func (c *Client) unreachable(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "dial" {
		return nil
	}
	elsewhere := c.peer.start
	e := &NoServerError{Server: c.peer.name, Address: c.address, Cause: err}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Reason = "the socket does not exist; " + elsewhere
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Reason = "nobody listens there; " + elsewhere
	case errors.Is(err, fs.ErrPermission):
		e.Reason = fmt.Sprintf("user %d may not open the socket; run this as root, or as a member of the socket's group", os.Geteuid())
	default:
		e.Reason = fmt.Sprintf("%v; check the address, or %s", op.Err, elsewhere)
	}
	return e
}

// problem is an answer that says what went wrong (RFC 9457).
type problem struct {
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
	Errors   []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// refusedByScanner makes the error of a status; nil where that says nothing about the request. It is the
// inverse of the server's table.
func refusedByScanner(status int, text string) error {
	var kind error
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		kind = scanner.ErrInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		kind = scanner.ErrDenied
	case http.StatusNotFound:
		kind = scanner.ErrNotFound
	case http.StatusConflict:
		kind = scanner.ErrConflict
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		kind = scanner.ErrUnavailable
	default:
		return nil
	}
	return &scanner.Error{Kind: kind, Message: text}
}

// refusal makes an error of an answer that is not what was asked for. It does not close the body.
func (c *Client) refusal(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	status := fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Detail == "" {
		p.Detail = fmt.Sprintf("%s answered %s; does the %s listen there?", c.address, status, c.peer.name)
	}
	text := clean(p.Detail)
	for _, e := range p.Errors {
		if e.Message != "" {
			text += fmt.Sprintf("; %s: %s", clean(e.Location), clean(e.Message))
		}
	}
	if err := c.peer.refused(resp.StatusCode, clip(text)); err != nil {
		return err
	}
	return fmt.Errorf("the %s at %s failed (%s): %s", c.peer.name, c.address, status, clip(text))
}

// clean drops what a server's text could do to a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, clip(s))
}

func clip(s string) string {
	if len(s) > maxReason {
		return strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
