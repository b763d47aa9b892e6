package stream

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"stella/internal/rdev"
	"stella/internal/rdev/outlog"
)

// appendHead appends the first lines of an event, up to where its data is.
func appendHead(b []byte, id uint64, name string) []byte {
	b = append(b, "id: "...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, "\nevent: "...)
	b = append(b, name...)
	return append(b, "\ndata: "...)
}

// appendOutput appends the event of a record. It is the same bytes each time.
func appendOutput(b []byte, r outlog.Record) []byte {
	b = appendHead(b, r.Seq, EventOutput)
	b = append(b, `{"stream":"`...)
	b = append(b, r.Stream...)
	b = append(b, `","time":"`...)
	b = r.Time.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	if isText(r.Data) {
		b = append(b, `","text":"`...)
		b = appendEscaped(b, r.Data)
	} else {
		b = append(b, `","base64":"`...)
		b = base64.StdEncoding.AppendEncode(b, r.Data)
	}
	b = append(b, `","end":"`...)
	b = append(b, endings[r.End]...)
	return append(b, "\"}\n\n"...)
}

// endings are the ends of records as they are in JSON.
var endings = map[string]string{"": "", "\n": `\n`, "\r": `\r`}

// isText reports whether data can be in a JSON string, and is shorter there than in base64.
func isText(data []byte) bool {
	controls := 0
	for _, c := range data {
		if c < ' ' && c != '\t' {
			controls++
		}
	}
	return 5*controls <= len(data)/3+5 && utf8.Valid(data)
}

const hex = "0123456789abcdef"

// appendEscaped appends UTF-8 as it is inside a JSON string.
func appendEscaped(b, data []byte) []byte {
	from := 0
	for i, c := range data {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, data[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, data[from:]...)
}

// appendGap appends the event of records that are not kept.
func appendGap(b []byte, from, to uint64) []byte {
	return appendJSON(appendHead(b, to, EventGap), Gap{From: from, To: to, Dropped: to - from + 1})
}

// appendEnd appends what is told behind the last record.
func appendEnd(b []byte, id uint64, dropped int64, end rdev.End) []byte {
	if dropped > 0 {
		b = append(b, "event: "+EventTruncated+"\ndata: "...)
		b = appendJSON(b, Truncated{Dropped: dropped})
	}
	return appendJSON(appendHead(b, id, EventEnd), end)
}

// appendJSON appends v as the data of an event, and its end. JSON has no line ends inside.
func appendJSON(b []byte, v any) []byte {
	text, _ := json.Marshal(v) // of these types it cannot fail
	return append(append(b, text...), "\n\n"...)
}

const beat = ":\n\n" // a comment, and the end of no event

// appendRetry appends how long a client should wait until it comes back.
func appendRetry(b []byte, after time.Duration) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, after.Milliseconds(), 10)
	return append(b, "\n\n"...)
}
