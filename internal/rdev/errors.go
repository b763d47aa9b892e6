package rdev

import (
	"errors"
	"fmt"
	"time"
)

// What an error of the service can be, for errors.Is. Every error that matches none of them is the service's own
// fault, or its machine's.
var (
	ErrInvalid     = errors.New("invalid")     // the request is wrong as it stands
	ErrDenied      = errors.New("denied")      // this caller may not
	ErrNotFound    = errors.New("not found")   // there is no such project or command
	ErrConflict    = errors.New("conflict")    // not in the state that things are in
	ErrGone        = errors.New("gone")        // it was there, and has been removed
	ErrTooMany     = errors.New("too many")    // this caller, or this project, has as much as it may have
	ErrUnavailable = errors.New("unavailable") // not now, whoever asks: memory, the database, the cluster
)

// Error is an error of one of these kinds. Its text is for people: what, to what, why, and what to do.
type Error struct {
	Kind    error
	Message string
	Cause   error // may be nil
	// RetryAfter is when to ask again; 0 is not known, or never.
	RetryAfter time.Duration
}

// Errorf makes an Error; a %w in the format is its cause.
func Errorf(kind error, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// After says when to ask again, and returns e.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is the error's kind.
func (e *Error) Is(target error) bool { return target == e.Kind }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }
