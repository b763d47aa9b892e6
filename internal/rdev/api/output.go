package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net/http"
	"strconv"
	"strings"

	"stella/internal/rdev"
	"stella/internal/rdev/keys"
	"stella/internal/rdev/outlog"
	"stella/internal/rdev/service"
)

// outputBuffer is how much of an answer is written at once, in bytes.
const outputBuffer = 32 << 10

// part is which of a command's records are asked for.
type part struct {
	log *service.Log
	// after and last are the cursors of the first and the last record: what comes after last, when the request did, is not told.
	after, last uint64
	stream      rdev.Stream // "" is both
}

// output answers with what a command printed.
func (a *API) output(w http.ResponseWriter, r *http.Request, _ keys.Identity) error {
	q := r.URL.Query()
	p := part{stream: rdev.Stream(q.Get("stream"))}
	if p.stream != "" && p.stream != rdev.Stdout && p.stream != rdev.Stderr {
		return unreadable("stream: %.40q is none: choose stdout or stderr, or leave it out for both", p.stream)
	}
	tail, err := number(q, "tail", 0, math.MaxInt64, -1)
	if err != nil {
		return err
	}
	if p.log, err = a.Service.Log(r.Context(), r.PathValue("project"), r.PathValue("id")); err != nil {
		return err
	}
	state := p.log.State()
	p.last = state.Last
	if tail >= 0 {
		if p.after, err = p.log.Tail(tail); err != nil {
			return err
		}
	}
	from, to, status := int64(0), int64(math.MaxInt64), http.StatusOK
	h := w.Header()
	if !state.Ended.IsZero() { // else it would be another range each time
		h.Set("Accept-Ranges", "bytes")
		if from, to, status, err = p.ranged(h, r); err != nil {
			return err
		}
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return nil
	}
	return p.send(w, from, to)
}

// ranged says which bytes of a part a request asks for, also in the answer's headers, and with which status they are sent.
func (p part) ranged(h http.Header, r *http.Request) (from, to int64, status int, err error) {
	asked := r.Header.Get("Range")
	if asked == "" || r.Header.Get("If-Range") != "" {
		return 0, math.MaxInt64, http.StatusOK, nil
	}
	size, err := p.size()
	if err != nil {
		return 0, 0, 0, err
	}
	from, to, ok, err := byteRange(asked, size)
	switch {
	case err != nil:
		h.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return 0, 0, 0, err
	case !ok:
		return from, to, http.StatusOK, nil
	}
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, size))
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	return from, to, http.StatusPartialContent, nil
}

// size is how many bytes a part has.
func (p part) size() (int64, error) {
	count := &window{to: math.MaxInt64, w: io.Discard}
	err := p.write(count)
	return count.at, err
}

// send writes the bytes of a part from from to to.
func (p part) send(w io.Writer, from, to int64) error {
	out := bufio.NewWriterSize(w, outputBuffer)
	err := p.write(&window{from: from, to: to, w: out})
	if err != nil && !errors.Is(err, errPassed) {
		return err
	}
	return out.Flush()
}

// write writes the whole part to w, with a line in the place of records that are not kept.
func (p part) write(w io.Writer) error {
	buf := make([]byte, outlog.MinBuffer)
	told, open := p.after, false // open is within a line
	var failed error
	gap := func(next uint64) {
		if next <= told+1 {
			return
		}
		if open {
			_, failed = io.WriteString(w, "\n")
		}
		if failed == nil {
			_, failed = fmt.Fprintf(w, "[rdev: %d records are not kept here]\n", next-told-1)
		}
		open = false
	}
	tell := func(r outlog.Record) bool {
		if r.Seq > p.last {
			return false
		}
		gap(r.Seq)
		told = r.Seq
		if failed == nil && (p.stream == "" || p.stream == r.Stream) {
			if _, failed = w.Write(r.Data); failed == nil {
				_, failed = io.WriteString(w, r.End)
			}
			open = r.End != "\n"
		}
		return failed == nil
	}
	for at := p.after; at < p.last && failed == nil; {
		position, err := p.log.Read(at, buf, tell)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return rdev.Errorf(rdev.ErrGone, "the output has been removed, for its age or for space")
		case err != nil:
			return err
		case position.Next <= at:
			return fmt.Errorf("the log did not go on behind record %d of %d", at, p.last)
		}
		at = position.Next
	}
	if failed == nil {
		gap(p.last + 1)
	}
	return failed
}

// errPassed says that the window is behind, so that nothing more needs to be read.
var errPassed = errors.New("the end of the range was passed")

// window writes what is between two places of all that is written to it.
type window struct {
	from, to, at int64
	w            io.Writer
}

// Write implements io.Writer. Its error is w's, or errPassed.
func (s *window) Write(p []byte) (int, error) {
	begin, n := s.at, int64(len(p))
	s.at += n
	if begin >= s.to {
		return 0, errPassed
	}
	low, high := min(max(s.from-begin, 0), n), min(s.to-begin, n)
	if low < high {
		if _, err := s.w.Write(p[low:high]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// byteRange reads the header Range (RFC 9110, 14.2) of something of a size. What is none, and more than one range, is
// no range, and the whole is sent.
func byteRange(header string, size int64) (from, to int64, ok bool, err error) {
	whole := func() (int64, int64, bool, error) { return 0, math.MaxInt64, false, nil }
	spec, isBytes := strings.CutPrefix(header, "bytes=")
	first, last, isRange := strings.Cut(strings.TrimSpace(spec), "-")
	if !isBytes || !isRange {
		return whole()
	}
	begin, beginErr := strconv.ParseUint(first, 10, 63)
	end, endErr := strconv.ParseUint(last, 10, 63)
	switch {
	case first == "" && endErr == nil: // the last bytes
		from, to = max(0, size-int64(end)), size
	case beginErr == nil && last == "":
		from, to = int64(begin), size
	case beginErr == nil && endErr == nil && begin <= end:
		from, to = int64(begin), size
		if int64(end) < size {
			to = int64(end) + 1
		}
	default:
		return whole()
	}
	if from >= size || from >= to {
		return 0, 0, false, fmt.Errorf("%w: it has %d bytes", errRange, size)
	}
	return from, to, true, nil
}
