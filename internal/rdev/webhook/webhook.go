// Package webhook tells others of the ends of commands, by HTTP, signed, and at least once.
//
// Words: a delivery is one message to one URL; it is written down in the transaction that records the end, so that it is
// neither lost nor sent of an end that was not kept. A try is one request. A delivery ends when a try was answered by
// 2xx or 410, or when it is too old, or pushed out because too many wait. A host's circuit opens after some failures one after the other: nothing
// is sent there for a while, and then one delivery tries for all.
//
// The request is a POST of JSON ([Message]) with these headers:
//
//	Stella-Delivery   a number; a message that comes twice has the same
//	Stella-Event      command.ended
//	Stella-Signature  t=UNIX SECONDS,v1=HEX, with a v1 for each secret; see [Sign] and [Verify]
//
// Callers choose the URLs, so that this service could be used to reach what its callers cannot. Therefore: addresses are checked when
// a connection is made, after the name was resolved, so that a name which resolves to something else the second time does
// not help; no proxy is asked; no redirect is followed; and nothing of an answer is told but its status.
//
// Hazards:
//
//   - A message can come twice, where this process was killed after the answer, and in any order.
//   - Who knows a secret can sign: secrets are read from a file at each try, so a new one counts at once.
package webhook

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"stella/internal/rdev"
	"stella/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// maxWaiting is how many deliveries wait, for 100 MB of database at the very worst; the oldest goes first.
	maxWaiting = 10_000
	// maxBody is the most bytes of a message with its request; one that would be longer is sent without that.
	maxBody = 8 << 10
	// maxAge is for how long a delivery is tried.
	maxAge = 24 * time.Hour
	// workers is how many tries are under way at the same time; to one host it is one.
	workers = 8
	// look is how often the database is asked for what has become due.
	look = time.Second
	// maxHosts is how many hosts with something due are looked at together.
	maxHosts = 256
)

// EventEnded is the event of a command's end.
const EventEnded = "command.ended"

// Message is the body of a request.
type Message struct {
	Event string `json:"event"`
	// Command is the command at its end. Its request is empty where it is long.
	Command rdev.Command `json:"command"`
}

// Result is what became of a try.
type Result string

// The results.
const (
	Delivered Result = "delivered"
	Failed    Result = "failed"  // it is tried again
	GivenUp   Result = "givenup" // it is not: the receiver said 410, or it was too old, or too many waited
)

// Options say how messages are sent. All fields but those that say so are needed.
type Options struct {
	DB *store.DB
	// SecretFile has the secret that messages are signed with: its lines, without white space around them, each at least
	// 16 bytes. Several are for the time in which receivers change from one to another.
	SecretFile string
	// Allow are networks that may be called although they are not public, such as 10.0.0.0/8; they may be called by http, too.
	Allow []netip.Prefix
	// AllowPlain lets public addresses be called by http.
	AllowPlain bool
	Log        *slog.Logger
	// Done counts what became of tries; it may be nil.
	Done func(Result)
}

// Sender sends messages. It may be used by several goroutines.
type Sender struct {
	o      Options
	db     *store.DB
	log    *slog.Logger
	client *http.Client
	wake   chan struct{}

	mu   sync.Mutex
	busy map[string]bool // hosts of tries that are under way
}

// Open makes the tables where they are not there, and reads the secrets once, to find what is wrong with them.
func Open(ctx context.Context, o Options) (*Sender, error) {
	if _, err := readSecrets(o.SecretFile); err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := o.DB.Migrate(ctx, files, "webhook_schema"); err != nil {
		return nil, err
	}
	if o.Done == nil {
		o.Done = func(Result) {}
	}
	return &Sender{o: o, db: o.DB, log: o.Log, client: newClient(o), wake: make(chan struct{}, 1), busy: map[string]bool{}}, nil
}

// Check finds what is wrong with the URL of a webhook, as far as can be told before its name is resolved.
func (s *Sender) Check(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return rdev.Errorf(rdev.ErrInvalid, "the webhook is no https or http URL with a host")
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		if u.Scheme == "http" && !s.o.AllowPlain && len(s.o.Allow) == 0 {
			return rdev.Errorf(rdev.ErrInvalid, "the webhook must be an https URL: this service sends nothing unencrypted")
		}
		return nil // a name
	}
	if err := s.o.check(addr, u.Scheme); err != nil {
		return rdev.Errorf(rdev.ErrInvalid, "the webhook cannot be called: %w", err)
	}
	return nil
}

// Add writes down that url is to be told of the end of c.
func (s *Sender) Add(ctx context.Context, tx *store.Tx, text string, c rdev.Command) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("webhook of command %s: %w", c.ID, err)
	}
	body, err := json.Marshal(Message{EventEnded, c})
	if err != nil {
		return fmt.Errorf("webhook of command %s: %w", c.ID, err)
	}
	if len(body) > maxBody {
		c.Request = rdev.Request{}
		if body, err = json.Marshal(Message{EventEnded, c}); err != nil {
			return fmt.Errorf("webhook of command %s: %w", c.ID, err)
		}
	}
	if err := s.makeRoom(ctx, tx); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	_, err = tx.Exec(ctx, `INSERT INTO webhook_deliveries (url, host, body, created, due, tries) VALUES ($1, $2, $3, $4, $4, 0)`, text, hostOf(u), string(body), now)
	return err
}

// hostOf is what a circuit is for.
func hostOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// makeRoom pushes out the oldest delivery where as many wait as may.
func (s *Sender) makeRoom(ctx context.Context, tx *store.Tx) error {
	n, err := tx.Exec(ctx, `DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries ORDER BY id DESC LIMIT 1 OFFSET $1)`, maxWaiting-1)
	if n > 0 {
		s.log.Warn("the webhook that waited longest was given up, because too many wait", "waiting", maxWaiting)
		s.o.Done(GivenUp)
	}
	return err
}

// Wake says that something was added.
func (s *Sender) Wake() {
	select {
	case s.wake <- struct{}{}:
	default: // it is about to wake anyway
	}
}

// Run sends what is due until ctx ends; what is not sent then waits for the next process.
func (s *Sender) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	slots := make(chan struct{}, workers)
	timer := time.NewTicker(look)
	defer timer.Stop()
	failing := false
	for {
		err := s.sendDue(ctx, &work, slots)
		if err != nil && ctx.Err() == nil && !failing {
			s.log.Error("webhooks cannot be read; trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// sendDue begins a try for every host that has something due and none under way.
func (s *Sender) sendDue(ctx context.Context, work *sync.WaitGroup, slots chan struct{}) error {
	hosts, err := s.hosts(ctx)
	if err != nil {
		return err
	}
	for _, host := range hosts {
		if !s.begin(host) {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			s.finish(host)
			return nil
		}
		work.Go(func() {
			defer func() { <-slots }()
			again, err := s.try(ctx, host)
			s.finish(host)
			if err != nil && ctx.Err() == nil {
				s.log.Error("what became of a webhook was not written down; it will be sent again", "host", host, "error", err)
			}
			if again {
				s.Wake()
			}
		})
	}
	return nil
}

// try sends what has waited longest for a host, and reports whether there may be more.
func (s *Sender) try(ctx context.Context, host string) (again bool, err error) {
	d, found, err := s.oldest(ctx, host)
	if err == nil && found {
		err = s.deliver(ctx, d)
	}
	return found && err == nil, err // where the database has trouble there is no hurry
}

func (s *Sender) begin(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[host] {
		return false
	}
	s.busy[host] = true
	return true
}

func (s *Sender) finish(host string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, host)
}
