package cluster

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"stella/internal/jsonstream"
)

// reader takes the value that stands next. null is as if nothing were there; a value of another type than the reader's is an error.
type reader func(d *jsonstream.Decoder) error

// fields are the members of an object that are read; others are skipped. It is for one object. encoding/json, into a struct, takes a member by a
// name in any case, and the last of two: it would read {"status":"False","Status":"True"} as true.
type fields map[string]reader

// decode reads one object of the API.
func decode(text []byte, f fields) error {
	return jsonstream.Decode(context.Background(), bytes.NewReader(text), f.read)
}

// read is a reader.
func (f fields) read(d *jsonstream.Decoder) error {
	if d.Kind() == jsonstream.Null {
		return d.Skip()
	}
	return d.Object(func(key string) error {
		value, wanted := f[key]
		if !wanted {
			return nil
		}
		if value == nil {
			return fmt.Errorf("the field %s comes twice", key)
		}
		f[key] = nil
		if err := value(d); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
}

// unless is a reader for what is not null.
func unless(d *jsonstream.Decoder, value func() error) error {
	if d.Kind() == jsonstream.Null {
		return d.Skip()
	}
	return value()
}

func text(to *string) reader {
	return func(d *jsonstream.Decoder) error {
		return unless(d, func() (err error) {
			*to, err = d.String()
			return err
		})
	}
}

// textIfAny tells the empty text from none, which is nil.
func textIfAny(to **string) reader {
	return func(d *jsonstream.Decoder) error {
		return unless(d, func() error {
			s, err := d.String()
			*to = &s
			return err
		})
	}
}

// there says that there is a value, whatever it is.
func there(to *bool) reader {
	return func(d *jsonstream.Decoder) error {
		*to = d.Kind() != jsonstream.Null
		return d.Skip()
	}
}

func flag(to *bool) reader {
	return func(d *jsonstream.Decoder) error {
		return unless(d, func() (err error) {
			*to, err = d.Bool()
			return err
		})
	}
}

func number(to *int64) reader {
	return func(d *jsonstream.Decoder) error {
		return unless(d, func() error {
			s, err := d.Number()
			if err == nil {
				*to, err = strconv.ParseInt(s, 10, 64)
			}
			return err
		})
	}
}

func moment(to *time.Time) reader {
	return func(d *jsonstream.Decoder) error {
		return unless(d, func() error {
			s, err := d.String()
			if err == nil {
				*to, err = time.Parse(time.RFC3339, s)
			}
			return err
		})
	}
}

// list is a reader of an array whose elements are read by element.
func list(element reader) reader {
	return func(d *jsonstream.Decoder) error {
		return unless(d, func() error {
			return d.Array(func(int) error { return element(d) })
		})
	}
}

func texts(to *[]string) reader {
	return list(func(d *jsonstream.Decoder) error {
		s, err := d.String()
		*to = append(*to, s)
		return err
	})
}

// labels is a reader of a map of texts.
func labels(to *map[string]string) reader {
	return func(d *jsonstream.Decoder) error {
		return unless(d, func() error {
			*to = map[string]string{}
			return d.Object(func(key string) error {
				value, err := d.String()
				if _, twice := (*to)[key]; twice {
					return fmt.Errorf("%s comes twice", key)
				}
				(*to)[key] = value
				return err
			})
		})
	}
}
