package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"stella/internal/rdev"
	"stella/internal/rdev/stream"
	"stella/internal/sse"
)

// OutputEvent is what [Rdev.Follow] tells of a command. One of its pointers is set.
type OutputEvent struct {
	// Seq is the number of the record, or of the last one that a gap has; the end's is one more than the last record's.
	Seq    uint64
	Output *stream.Output
	Gap    *stream.Gap
	End    *rdev.End
}

// From says where in the output of a command to begin: behind the record After, or, where that is 0 and Tail is not, with
// the last Tail lines that there are.
type From struct {
	After uint64
	Tail  int64
}

// Output writes what a command has printed until now to w: its last tail lines, or with 0 all that is kept. stream is one of
// its streams, or empty for both. After an error w may have a part of it.
func (r *Rdev) Output(ctx context.Context, project, id string, tail int64, stream rdev.Stream, w io.Writer) error {
	q := url.Values{}
	setInt(q, "tail", tail)
	set(q, "stream", string(stream))
	return r.c.read(ctx, get(commandPath(project, id)+"/output", q), func(body io.Reader) error {
		_, err := io.Copy(w, body)
		return err
	})
}

// Follow calls fn with what a command has printed and prints, until its end, which is the last event. It comes back by itself when
// the connection breaks, for a minute at least, and misses nothing that the service still has. An error of fn ends it, and is returned.
func (r *Rdev) Follow(ctx context.Context, project, id string, from From, fn func(OutputEvent) error) error {
	q := request{method: http.MethodGet, path: commandPath(project, id) + "/events", query: url.Values{}, accept: sse.ContentType}
	if from.After > 0 {
		q.lastID = strconv.FormatUint(from.After, 10)
	}
	setInt(q.query, "tail", from.Tail)
	return r.c.follow(ctx, q, func(sent sse.Event) (bool, error) {
		e, known, err := outputEvent(sent)
		if err != nil {
			return false, r.c.strange(err)
		}
		if !known {
			return false, nil
		}
		return e.End != nil, fn(e)
	})
}

// outputEvent reads an event. Those of other kinds are for others, or of later versions.
func outputEvent(sent sse.Event) (e OutputEvent, known bool, err error) {
	var data any
	switch sent.Name {
	case stream.EventOutput:
		e.Output = new(stream.Output)
		data = e.Output
	case stream.EventGap:
		e.Gap = new(stream.Gap)
		data = e.Gap
	case stream.EventEnd:
		e.End = new(rdev.End)
		data = e.End
	default:
		return e, false, nil
	}
	if e.Seq, err = strconv.ParseUint(sent.ID, 10, 64); err != nil {
		return e, false, err
	}
	return e, true, json.Unmarshal(sent.Data, data)
}
