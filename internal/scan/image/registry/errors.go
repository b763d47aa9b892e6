package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// What an [Error] can be, for errors.Is.
var (
	// ErrAuth says that the registry wants other credentials than there are.
	ErrAuth = errors.New("access was refused")
	// ErrNotFound says that the registry does not have it.
	ErrNotFound = errors.New("not found")
	// ErrTooLarge says that a document is larger than its cap.
	ErrTooLarge = errors.New("larger than allowed")
)

var errStalled = errors.New("the server stopped sending")

const (
	// maxErrorBody is how much of an error's body is read, in bytes.
	maxErrorBody = 8 << 10
	// maxReason is the longest quotation of somebody else's text, in bytes.
	maxReason = 400
)

// Error is a failed request. Its text holds no credentials and no signed addresses.
type Error struct {
	// Registry is the host that was asked.
	Registry string
	// Subject is what was asked of it, for people.
	Subject string
	// Status is the HTTP status, 0 where there was no answer.
	Status int
	Reason string

	kind, cause error
	passing     bool
}

// Passing reports whether the same request may well succeed at another time: the
// network broke, or the server was busy.
func (e *Error) Passing() bool {
	return e.passing || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= http.StatusInternalServerError
}

func (e *Error) Error() string {
	return "registry " + e.Registry + ": " + e.Subject + ": " + e.Reason
}

// Unwrap gives [ErrAuth] and its like, [ErrForbidden] among them, and the context's error. The error that was
// scrubbed is not in it, lest its text come out by another way.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.kind, e.cause} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// failure makes an Error of what a request returned instead of a response.
func (c *Client) failure(ctx context.Context, subject string, err error) error {
	var done *Error
	if errors.As(err, &done) {
		return done
	}
	e := &Error{Registry: c.repo.RegistryStr(), Subject: subject, cause: ctx.Err()}
	var ae *addressError
	if errors.As(err, &ae) {
		e.kind, e.Reason = ErrForbidden, clean(ae.Error())
		return e
	}
	var te *transport.Error
	if errors.As(err, &te) {
		e.Status = te.StatusCode
		if len(te.Errors) > 0 {
			e.Reason = string(te.Errors[0].Code) + " " + te.Errors[0].Message
		}
		if te.Request != nil && te.Request.URL.Host != e.Registry {
			e.Subject += " at " + te.Request.URL.Host
		}
		c.explain(e)
		return e
	}
	e.Reason, e.passing = scrub(err), brokenConnection(err) || errors.Is(err, errStalled)
	return e
}

// statusError makes an Error of a response that is not what was asked for. It closes the body.
func (c *Client) statusError(subject string, resp *http.Response) error {
	defer resp.Body.Close()
	e := &Error{Registry: c.repo.RegistryStr(), Subject: subject, Status: resp.StatusCode}
	if host := resp.Request.URL.Host; host != e.Registry {
		// A storage host behind a redirect: its 403 is about a signature, not about the user's credentials.
		e.Reason = fmt.Sprintf("%s, where the registry keeps its blobs, answered %s", host, statusText(e.Status))
		if e.Status == http.StatusNotFound {
			e.kind = ErrNotFound
		}
		return e
	}
	var said struct {
		Errors []struct{ Code, Message string }
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if json.Unmarshal(body, &said) == nil && len(said.Errors) > 0 {
		e.Reason = said.Errors[0].Code + " " + said.Errors[0].Message
	}
	c.explain(e)
	return e
}

// explain turns a status and what the registry said, which stands in e.Reason, into a reason with a next step.
func (c *Client) explain(e *Error) {
	status := statusText(e.Status)
	if said := clean(e.Reason); said != "" {
		status += " (" + said + ")"
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.kind = ErrAuth
		if c.anonymous {
			e.Reason = fmt.Sprintf("%s: no credentials for it were found in %s; log in with docker login %s. A repository that does not exist is often answered the same way",
				status, c.sources, e.Registry)
		} else {
			e.Reason = fmt.Sprintf("%s: the credentials from %s were refused; log in again with docker login %s", status, c.sources, e.Registry)
		}
	case http.StatusNotFound:
		e.kind = ErrNotFound
		e.Reason = status + ": check the repository's name and the tag or digest"
	default:
		e.Reason = status
	}
}

func statusText(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// scrub makes an error's text fit to be shown: addresses lose user names,
// passwords and queries, and only the first line is kept, since libraries put the
// server's or the credential helper's output behind it.
func scrub(err error) string {
	s := err.Error()
	s, _, _ = strings.Cut(s, "\n")
	s, _, _ = strings.Cut(s, ", out: ")
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(s, "://")
		b.WriteString(before)
		if !ok {
			return clean(b.String())
		}
		b.WriteString("://")
		end := strings.IndexFunc(rest, func(r rune) bool { return unicode.IsSpace(r) || r == '"' || r == '\'' })
		if end < 0 {
			end = len(rest)
		}
		b.WriteString(bare(rest[:end]))
		s = rest[end:]
	}
}

// bare is an address, behind its scheme, without user, query and fragment.
func bare(address string) string {
	tail := ""
	if cut := strings.IndexAny(address, "?#"); cut >= 0 {
		// The colon between an address and what is said of it is kept.
		if strings.HasSuffix(address, ":") {
			tail = ":"
		}
		address = address[:cut]
	}
	host := address
	if slash := strings.IndexByte(host, '/'); slash >= 0 {
		host = host[:slash]
	}
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		address = address[at+1:]
	}
	return address + tail
}

// clean drops control characters and bounds the length of foreign text.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, clip(s))
	return strings.TrimSpace(s)
}

func clip(s string) string {
	if len(s) > maxReason {
		return strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}
