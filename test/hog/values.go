//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// mostBytes is the most that one size may be: more than a test machine can spare.
const mostBytes = 16 << 30

// size is an amount of bytes of 1 to mostBytes.
type size int64

// String implements flag.Value. The largest unit that keeps it whole is used.
func (s *size) String() string {
	for _, u := range units {
		if *s != 0 && *s%(1<<u.bits) == 0 {
			return strconv.FormatInt(int64(*s>>u.bits), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

var units = []struct {
	name string
	bits int
}{{"Gi", 30}, {"Mi", 20}, {"Ki", 10}}

// Set implements flag.Value.
func (s *size) Set(text string) error {
	digits, bits := text, 0
	for _, u := range units {
		if d, ok := strings.CutSuffix(text, u.name); ok {
			digits, bits = d, u.bits
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || err == nil && n > mostBytes>>bits:
		return errors.New("more than 16Gi, the most that hog takes")
	case err != nil || n == 0:
		return errors.New("not a size: write a whole number of bytes above zero, or of Ki, Mi or Gi, such as 64Mi")
	}
	*s = size(n << bits)
	return nil
}

// pages is the size in whole pages, rounded up, in bytes.
func (s size) pages() int64 { return (int64(s) + pageSize - 1) / pageSize * pageSize }

// rate is a size per second.
type rate struct{ size }

// String implements flag.Value.
func (r *rate) String() string { return r.size.String() + "/s" }

// Set implements flag.Value.
func (r *rate) Set(text string) error {
	amount, ok := strings.CutSuffix(text, "/s")
	if !ok {
		return errors.New("not a rate: write a size per second, such as 1Mi/s")
	}
	return r.size.Set(amount)
}

// duration is a time that is not shorter than least.
type duration struct {
	time.Duration
	least time.Duration
}

// Set implements flag.Value.
func (d *duration) Set(text string) (err error) {
	v, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("not a duration: write a number and a unit, such as 500ms, 5s or 1m30s")
	}
	if v < d.least {
		return fmt.Errorf("shorter than %v", d.least)
	}
	d.Duration = v
	return nil
}

// number is a whole number from least to most.
type number struct{ value, least, most int }

// String implements flag.Value.
func (n *number) String() string { return strconv.Itoa(n.value) }

// Set implements flag.Value.
func (n *number) Set(text string) error {
	v, err := strconv.ParseUint(text, 10, 31)
	if err != nil || int(v) < n.least || int(v) > n.most {
		return fmt.Errorf("not a whole number from %d to %d", n.least, n.most)
	}
	n.value = int(v)
	return nil
}

// word is text without spaces: a name, a directory or an address.
type word string

// String implements flag.Value.
func (w *word) String() string { return string(*w) }

// Set implements flag.Value.
func (w *word) Set(text string) error {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
		return errors.New("empty, or with a space")
	}
	*w = word(text)
	return nil
}
