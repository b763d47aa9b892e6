package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"stella/internal/rdev"
)

const (
	// smallBody is the most bytes of a body that is no command, and of a command that all may send at once.
	smallBody = 64 << 10
	// maxValues bounds the values of a body: as many as a command may have and some more. In memory a value of
	// two bytes takes ten times that.
	maxValues = rdev.MaxArguments + 2*rdev.MaxEnvironment + 64
)

// read reads a request's body into v: JSON, in time, of at most so many bytes, without fields that are not known.
func (a *API) read(w http.ResponseWriter, r *http.Request, most int64, v any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return errNoJSON
	}
	size := r.ContentLength
	if size > most {
		w.Header().Set("Connection", "close") // it is not read
		return fmt.Errorf("%w: %d bytes, and at most %d", errTooLarge, size, most)
	}
	if size > smallBody || size < 0 && most > smallBody {
		release, ok := a.large.Take(visitOf(r.Context()).Name)
		if !ok {
			w.Header().Set("Connection", "close")
			return rdev.Errorf(rdev.ErrTooMany, "too many requests with large bodies at a time: wait a moment").After(time.Second)
		}
		defer release()
	}
	body, err := readAll(w, r, most)
	if err != nil {
		w.Header().Set("Connection", "close") // the rest of it is not read
		return err
	}
	return decode(body, v)
}

func readAll(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	// net/http takes the deadline away at the body's end. A writer without deadlines is a test's.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, most)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBody, err)
	}
	return body, nil
}

func decode(body []byte, v any) error {
	if n := values(body); n > maxValues {
		return rdev.Errorf(rdev.ErrInvalid, "the body of the request has %d values; at most %d", n, maxValues)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", errBody, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the JSON", errBody)
	}
	return nil
}

// values counts about how many values there are in JSON, before memory is given to them: the commas and brackets outside of
// strings.
func values(body []byte) int {
	n, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == '[' || c == '{'):
			n++
		}
	}
	return n
}

// reply answers in JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // an error is that the client is gone
	return nil
}
