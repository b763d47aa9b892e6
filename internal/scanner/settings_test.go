package scanner_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"stella/internal/scanner"
)

// Each key that the runbooks name, with a value of theirs.
func TestSettingsOfTheRunbook(t *testing.T) {
	s := scanner.DefaultSettings()
	for _, c := range [][2]string{
		{"worker.memory_limit", "8Gi"}, {"worker.count", "4"}, {"sbom.streaming_threshold", "1Gi"}, {"sbom.incremental_mode", "false"},
		{"cache.layer_dedup", "false"}, {"cache.max_size", "10Gi"}, {"routing.large_image_threshold", "3Gi"}, {"routing.large_image_layers", "50"},
		{"routing.large_image_pool", "large-images"}, {"timeouts.scan", "20m"}, {"retry.max_attempts", "5"}, {"logs.retention", "72h"}, {"results.retention", "100h"},
	} {
		if err := s.Set(c[0], c[1]); err != nil {
			t.Errorf("%s: %v", c[0], err)
		}
		d, err := s.Describe(c[0])
		if err != nil || len(d) != 1 || d[0].Value != c[1] || d[0].Default == c[1] || d[0].Doc == "" || d[0].Range == "" {
			t.Errorf("%s is described as %+v, %v; want value %s, another default, a text and a range", c[0], d, err, c[1])
		}
	}
	want := scanner.Settings{
		WorkerMemory: 8 << 30, WorkerCount: 4, StreamingThreshold: 1 << 30, CacheSize: 10 << 30, LargeThreshold: 3 << 30, LargeLayers: 50,
		LargePool: "large-images", ScanTimeout: 20 * time.Minute, MaxAttempts: 5, LogRetention: 72 * time.Hour, ResultRetention: 100 * time.Hour,
	}
	if s != want {
		t.Errorf("got %+v; want %+v", s, want)
	}
	if len(scanner.Keys()) != 13 {
		t.Errorf("%d keys, and this test sets 13", len(scanner.Keys()))
	}
}

func TestBadSettings(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"worker.memory_limit", "8GB ", "is no amount"},
		{"worker.memory_limit", "-1", "above zero"},
		{"worker.memory_limit", "47Mi", "too small"},
		{"worker.memory_limit", "2Pi", "too large"},
		{"worker.memory_limit", "", "no amount"},
		{"worker.count", "0", "too small"},
		{"worker.count", "1.5", "no whole number"},
		{"timeouts.scan", "20", "no time"},
		{"timeouts.scan", "-3s", "too short"},
		{"timeouts.scan", "9999h", "too long"},
		{"sbom.incremental_mode", "yes", "neither true nor false"},
		{"routing.large_image_pool", "Large Images", "no name of a pool"},
		{"worker.memry_limit", "8Gi", "no such setting"},
	} {
		s := scanner.DefaultSettings()
		err := s.Set(c.key, c.value)
		if !errors.Is(err, scanner.ErrSetting) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s=%q: %v; want %q", c.key, c.value, err, c.want)
		}
		if s != scanner.DefaultSettings() {
			t.Errorf("%s=%q changed something", c.key, c.value)
		}
	}
}

func TestDescribeGroups(t *testing.T) {
	s := scanner.DefaultSettings()
	for group, want := range map[string]int{"": 13, "worker": 2, "timeouts": 1, "routing.": 3} {
		if d, err := s.Describe(group); err != nil || len(d) != want {
			t.Errorf("group %q has %d settings (%v); want %d", group, len(d), err, want)
		}
	}
	if _, err := s.Describe("work"); !errors.Is(err, scanner.ErrSetting) {
		t.Errorf("half a name: %v; want an error", err)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]string{`"30m"`: `"30m"`, `"1h0m0s"`: `"1h"`, `"90s"`: `"1m30s"`, `"10m20s"`: `"10m20s"`, `"0s"`: `"0s"`, `"100ms"`: `"100ms"`, `"10h"`: `"10h"`} {
		var d scanner.Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if got, err := json.Marshal(d); err != nil || string(got) != want {
			t.Errorf("%s is written as %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{`"-1s"`, `"x"`, `""`, `"30"`} {
		var d scanner.Duration
		if err := json.Unmarshal([]byte(text), &d); err == nil {
			t.Errorf("%s is read as %v; want an error", text, d)
		}
	}
}

// Whatever is accepted is shown in a form that is accepted, and means the same.
func FuzzSettings(f *testing.F) {
	for _, key := range scanner.Keys() {
		f.Add(key, "8Gi")
		f.Add(key, "20m")
		f.Add(key, "true")
		f.Add(key, "7")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		s := scanner.DefaultSettings()
		if s.Set(key, value) != nil {
			return
		}
		d, err := s.Describe(key)
		if err != nil || len(d) != 1 {
			t.Fatalf("%s was set and cannot be described: %v", key, err)
		}
		again := scanner.DefaultSettings()
		if err := again.Set(key, d[0].Value); err != nil || again != s {
			t.Errorf("%s=%q is shown as %q, which means %+v (%v); want %+v", key, value, d[0].Value, again, err, s)
		}
	})
}

func TestPoolCheck(t *testing.T) {
	for _, c := range []struct {
		pool scanner.Pool
		want string
	}{
		{scanner.Pool{Name: "a", Memory: 64 * mib, Count: 1}, ""},
		{scanner.Pool{Name: "A", Memory: 64 * mib, Count: 1}, "lower-case"},
		{scanner.Pool{Name: "a/b", Memory: 64 * mib, Count: 1}, "lower-case"},
		{scanner.Pool{Name: strings.Repeat("a", 64), Memory: 64 * mib, Count: 1}, "at most 63"},
		{scanner.Pool{Name: "a", Memory: 16 * mib, Count: 1}, "less than a worker needs"},
		{scanner.Pool{Name: "a", Memory: 1 << 40, Count: 1}, "does not fit on this machine"},
		{scanner.Pool{Name: "a", Memory: 64 * mib, Count: 0}, "must be 1 to"},
		{scanner.Pool{Name: "a", Memory: 64 * mib, Count: 1000}, "must be 1 to"},
	} {
		err := c.pool.Check(1 << 30)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v; want %q", c.pool, err, c.want)
		}
	}
}
