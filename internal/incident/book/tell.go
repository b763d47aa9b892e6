package book

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"stella/internal/incident"
	"stella/internal/store"
)

// Teller is who sends events, and what they may tell.
type Teller struct {
	// Name is the server's for them: "key n1", "uid 0".
	Name string
	// Machine says that this is a program that tells what others told it, too: what it says of actors is kept, with its name.
	Machine bool
	// Remedies says that they may tell events that change what is known of a remedy, or end an incident.
	Remedies bool
	// Others says that they may open, and add kills to, incidents of others.
	Others bool

	own bool // this process
}

// ofRemedies are the kinds of events that say that something was changed, or is over.
var ofRemedies = []incident.Kind{incident.Approved, incident.Remedied, incident.Verified, incident.Failed, incident.RolledBack, incident.Ended}

// ofSources are the kinds of events that programs tell, not people.
var ofSources = []incident.Kind{incident.Opened, incident.Killed, incident.Warned, incident.Explained, incident.Sampled, incident.Profiled, incident.Changed}

// Tell adds what somebody sent, and says what became of each event. Those that are wrong, or not theirs to tell, are refused, and the others added.
func (b *Book) Tell(ctx context.Context, by Teller, events []incident.Event) (incident.Receipt, error) {
	var refused []incident.Refusal
	var good []incident.Event
	now := time.Now()
	for _, e := range events {
		err := check(&e, now)
		if err == nil {
			err = by.may(&e)
		}
		if err != nil {
			refused = append(refused, refusal(&e, err))
			continue
		}
		e.Actor = by.actor(&e)
		good = append(good, e)
	}
	var receipt incident.Receipt
	err := b.db.Write(ctx, func(tx *store.Tx) (err error) {
		receipt, err = b.add(ctx, tx, by, good)
		return err
	})
	receipt.Refused = append(refused, receipt.Refused...)
	return receipt, err
}

// refusal is cut to what an answer can have.
func refusal(e *incident.Event, err error) incident.Refusal {
	return incident.Refusal{Incident: fmt.Sprintf("%.80s", e.Incident), ID: fmt.Sprintf("%.80s", e.ID), Reason: err.Error()}
}

// check finds what is wrong with an event.
func check(e *incident.Event, now time.Time) error {
	if err := e.Check(now); err != nil {
		return err
	}
	if e.ID == earlierID {
		return fmt.Errorf("id: %s is the server's own", earlierID)
	}
	head, err := headOf(e)
	if err == nil && len(head) > maxHead {
		err = fmt.Errorf("without its data it has %d bytes as JSON; at most %d", len(head), maxHead)
	}
	return err
}

// headOf is an event without its data, as JSON.
func headOf(e *incident.Event) ([]byte, error) {
	head := *e
	head.Data = nil
	return json.Marshal(&head)
}

// may reports what of an event is not theirs to tell.
func (by Teller) may(e *incident.Event) error {
	if slices.Contains(ofRemedies, e.Kind) && !by.Remedies {
		return fmt.Errorf("an event of the kind %s needs the scope remedies", e.Kind)
	}
	if e.Source == incident.SourceWorker {
		return errors.New("of workers the scanner service tells itself")
	}
	return nil
}

// actor is who an event is by: the teller, unless a program tells it, of which the name stays beside that of its key.
func (by Teller) actor(e *incident.Event) string {
	if e.Actor == "" || e.Actor == by.Name || !by.Machine && !slices.Contains(ofSources, e.Kind) {
		return by.Name
	}
	return fmt.Sprintf("%s (%s)", e.Actor, by.Name)
}

// foreign reports why an event cannot be added to an incident of this owner.
func (by Teller) foreign(owner string, e *incident.Event) error {
	if owner == by.Name || by.own || by.Others || e.Kind != incident.Opened && e.Kind != incident.Killed {
		return nil
	}
	return fmt.Errorf("the incident is %s's, and who opened it alone tells its kills", owner)
}
