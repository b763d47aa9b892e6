package notice

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/owner"
)

// Sockets are where containerd listens: its own, k3s's and docker's. A machine has one, or two.
var Sockets = []string{"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/docker/containerd/containerd.sock"}

const (
	// maxMessage bounds one event. That of an OOM has 200 bytes.
	maxMessage = 64 << 10
	// window bounds what containerd may send before it is read: the least that HTTP/2 allows for a connection.
	window = 64 << 10
	// retry is how long a runtime that is not there, or stopped, is left alone.
	retry = 2 * time.Second
)

// Containerd follows containerd's event /tasks/oom on its socket until ctx ends. What happens while it does not
// listen is not told later.
//
// It is gRPC by hand, on net/http: one call and two messages. The libraries for it cost 5.6 MiB of
// resident memory and 6.4 MB of binary more (grpc v1.85.0, containerd/api v1.8.0).
func Containerd(ctx context.Context, socket string, tell func(oom.Notice), state func(error)) error {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: window},
	}
	defer transport.CloseIdleConnections()
	r := reporter{state: state}
	for {
		err := subscribe(ctx, transport, tell, func() { r.report(nil) })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.report(fmt.Errorf("follow the events of containerd at %s: %w", socket, err))
		if !pause(ctx.Done(), retry) {
			return ctx.Err()
		}
	}
}

// subscribe makes the one call, whose answer comes event by event. containerd answers nothing until the first.
func subscribe(ctx context.Context, transport http.RoundTripper, tell func(oom.Notice), listening func()) error {
	trace := &httptrace.ClientTrace{WroteRequest: func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			listening()
		}
	}}
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost,
		"http://containerd/containerd.services.events.v1.Events/Subscribe", bytes.NewReader(subscription))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %s", answer.Status)
	}
	if refused := answer.Header.Get("Grpc-Status"); refused != "" {
		return fmt.Errorf("gRPC status %s %s", refused, answer.Header.Get("Grpc-Message"))
	}
	for {
		message, err := readMessage(answer.Body)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("it ended: gRPC status %s %s", answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message"))
		}
		if err != nil {
			return err
		}
		if n, ok := event(message); ok {
			tell(n)
		}
	}
}

// subscription is the one message of the call: SubscribeRequest{filters: [topic=="/tasks/oom"]}.
var subscription = func() []byte {
	const filter = `topic=="/tasks/oom"`
	request := append([]byte{1<<3 | lengthDelimited, byte(len(filter))}, filter...)
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
}()

// readMessage reads one message of a gRPC stream: a byte that says whether it is compressed, its length, the message.
func readMessage(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 || size > maxMessage {
		return nil, fmt.Errorf("an event of %d bytes, or compressed", size)
	}
	message := make([]byte, size)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return message, nil
}

// event reads a containerd.types.Envelope: timestamp 1 {seconds 1, nanoseconds 2}, namespace 2, topic 3, event 4 {type 1, value 2}, where
// the value of a TaskOOM is {container_id 1}.
func event(message []byte) (oom.Notice, bool) {
	var at time.Time
	var id []byte
	runtime := owner.Containerd
	fields(message, func(field int, value []byte, _ uint64) {
		switch field {
		case 1:
			var seconds, nanoseconds uint64
			fields(value, func(field int, _ []byte, number uint64) {
				switch field {
				case 1:
					seconds = number
				case 2:
					nanoseconds = number
				}
			})
			at = time.Unix(int64(seconds), int64(nanoseconds))
		case 2:
			if string(value) == "moby" {
				runtime = owner.Docker
			}
		case 4:
			fields(value, func(field int, value []byte, _ uint64) {
				if field != 2 {
					return
				}
				fields(value, func(field int, value []byte, _ uint64) {
					if field == 1 {
						id = value
					}
				})
			})
		}
	})
	full, ok := containerID(id)
	if !ok || len(id) != idDigits {
		return oom.Notice{}, false
	}
	return runtimeNotice(runtime, full, at), true
}

// The kinds of fields of protocol buffers, https://protobuf.dev/programming-guides/encoding/.
const (
	varint          = 0
	fixed64         = 1
	lengthDelimited = 2
	fixed32         = 5
)

// fields gives the fields of a message, up to what is broken.
func fields(message []byte, each func(field int, value []byte, number uint64)) {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return
		}
		message = message[n:]
		var value []byte
		var number uint64
		size := 0
		switch tag & 7 {
		case varint:
			number, size = binary.Uvarint(message)
		case fixed64:
			size = 8
		case fixed32:
			size = 4
		case lengthDelimited:
			length, n := binary.Uvarint(message)
			if n <= 0 || length > uint64(len(message)-n) {
				return
			}
			message, size = message[n:], int(length)
			value = message[:size]
			if size == 0 {
				each(int(tag>>3), value, 0)
				continue
			}
		}
		if size <= 0 || size > len(message) {
			return
		}
		message = message[size:]
		each(int(tag>>3), value, number)
	}
}
