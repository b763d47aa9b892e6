package scanner

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"stella/internal/bytesize"
)

// Settings are the values in force.
type Settings struct {
	WorkerMemory       int64
	WorkerCount        int
	StreamingThreshold int64
	Incremental        bool
	LayerDedup         bool
	CacheSize          int64
	LargeThreshold     int64
	LargeLayers        int
	LargePool          string
	ScanTimeout        time.Duration
	MaxAttempts        int
	LogRetention       time.Duration
	ResultRetention    time.Duration
}

// Setting is one of them, as people see and set it.
type Setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Default string `json:"default"`
	// Origin is "default", or "set by NAME".
	Origin string `json:"origin"`
	// Changed is when it was set, zero for a default.
	Changed time.Time `json:"changed,omitzero"`
	// Kind is what a value looks like: size, count, duration, bool or pool.
	Kind string `json:"kind"`
	// Range says which values are allowed, for people.
	Range string `json:"range"`
	// Restart says that workers use a new value only after they were restarted.
	Restart bool `json:"restart"`
	// Doc says in a sentence what it does.
	Doc string `json:"doc"`
}

// definition is a setting's rules.
type definition struct {
	key, kind, allowed, doc string
	restart                 bool
	// set reads a value and puts it into s; get shows it. set's errors end a
	// sentence that begins "VALUE is".
	set func(s *Settings, text string) error
	get func(s *Settings) string
}

// ErrSetting is matched by every error about a key or a value of a setting.
var ErrSetting = errors.New("setting")

// SettingError says what is wrong with a key or a value. It matches [ErrSetting].
type SettingError struct {
	Key     string
	Problem string
}

// Error names the key, the problem and the values that are allowed.
func (e *SettingError) Error() string { return e.Key + ": " + e.Problem }

// Is reports whether target is [ErrSetting].
func (e *SettingError) Is(target error) bool { return target == ErrSetting }

const (
	maxSize      = 1 << 50 // 1 PiB: more is a slip of the finger
	maxRetention = 10 * 365 * 24 * time.Hour
)

var definitions = []definition{
	sizeSetting("worker.memory_limit", MinWorkerMemory, true, "memory limit of each worker of the pool default",
		func(s *Settings) *int64 { return &s.WorkerMemory }),
	countSetting("worker.count", 1, MaxCount, "workers of the pool default", func(s *Settings) *int { return &s.WorkerCount }),
	sizeSetting("sbom.streaming_threshold", 0, false,
		"images of at least this size are streamed, in 32 MiB with temporary files; smaller ones are scanned without temporary files, in as much memory as those would take. 0 streams all",
		func(s *Settings) *int64 { return &s.StreamingThreshold }),
	boolSetting("sbom.incremental_mode", "keep each finished layer of a job until the job ends, so that another attempt goes on where the last one ended",
		func(s *Settings) *bool { return &s.Incremental }),
	boolSetting("cache.layer_dedup", "keep finished layers for all later jobs, so that a layer that many images share is read once",
		func(s *Settings) *bool { return &s.LayerDedup }),
	sizeSetting("cache.max_size", 1<<20, false, "most that the cache of layers may hold on each server; the least recently used go first",
		func(s *Settings) *int64 { return &s.CacheSize }),
	sizeSetting("routing.large_image_threshold", 0, false, "images of at least this size begin in the pool for large images. 0 turns it off",
		func(s *Settings) *int64 { return &s.LargeThreshold }),
	countSetting("routing.large_image_layers", 0, 1_000_000, "images of at least this many layers begin in the pool for large images. 0 turns it off",
		func(s *Settings) *int { return &s.LargeLayers }),
	poolSetting("routing.large_image_pool", "the pool for large images; empty is none", func(s *Settings) *string { return &s.LargePool }),
	durationSetting("timeouts.scan", time.Second, 7*24*time.Hour, "most time of one attempt", func(s *Settings) *time.Duration { return &s.ScanTimeout }),
	countSetting("retry.max_attempts", 1, 100, "attempts of a job whose scans fail or whose workers die, for other reasons than memory",
		func(s *Settings) *int { return &s.MaxAttempts }),
	durationSetting("logs.retention", time.Minute, maxRetention, "how long the service's log is kept", func(s *Settings) *time.Duration { return &s.LogRetention }),
	durationSetting("results.retention", time.Minute, maxRetention, "how long ended jobs and their results are kept", func(s *Settings) *time.Duration { return &s.ResultRetention }),
}

// DefaultSettings are the values where nothing was set.
func DefaultSettings() Settings {
	return Settings{
		WorkerMemory:    64 << 20,
		WorkerCount:     min(runtime.NumCPU(), 16),
		Incremental:     true,
		LayerDedup:      true,
		CacheSize:       1 << 30,
		LargeThreshold:  2 << 30,
		LargeLayers:     100,
		ScanTimeout:     30 * time.Minute,
		MaxAttempts:     3,
		LogRetention:    7 * 24 * time.Hour,
		ResultRetention: 30 * 24 * time.Hour,
	}
}

// Keys are the keys of all settings.
func Keys() []string {
	var keys []string
	for _, d := range definitions {
		keys = append(keys, d.key)
	}
	return keys
}

// Set changes one value; the error matches [ErrSetting] and names the key and
// what is allowed. It does not know which pools there are.
func (s *Settings) Set(key, text string) error {
	d, err := find(key)
	if err != nil {
		return err
	}
	if err := d.set(s, text); err != nil {
		return &SettingError{key, fmt.Sprintf("%q is %v; allowed: %s", text, err, d.allowed)}
	}
	return nil
}

// Describe returns the settings that key names: one, or with "", "worker" or
// "worker.", those of a group. Origins are those of defaults.
func (s *Settings) Describe(key string) ([]Setting, error) {
	defaults := DefaultSettings()
	prefix := strings.TrimSuffix(key, ".") + "."
	var all []Setting
	for _, d := range definitions {
		if key != "" && d.key != key && !strings.HasPrefix(d.key, prefix) {
			continue
		}
		all = append(all, Setting{
			Key: d.key, Value: d.get(s), Default: d.get(&defaults), Origin: "default",
			Kind: d.kind, Range: d.allowed, Restart: d.restart, Doc: d.doc,
		})
	}
	if len(all) == 0 {
		_, err := find(key)
		return nil, err
	}
	return all, nil
}

func find(key string) (definition, error) {
	i := slices.IndexFunc(definitions, func(d definition) bool { return d.key == key })
	if i < 0 {
		return definition{}, &SettingError{key, "no such setting; there are " + strings.Join(Keys(), ", ")}
	}
	return definitions[i], nil
}

func sizeSetting(key string, least int64, restart bool, doc string, field func(*Settings) *int64) definition {
	allowed := fmt.Sprintf("bytes, such as 64Mi, 8Gi or 1G, from %s to %s", bytesize.Size(max(least, 1)), bytesize.Size(maxSize))
	if least == 0 {
		allowed = "0, or " + allowed
	}
	return definition{
		key: key, kind: "size", allowed: allowed, doc: doc, restart: restart,
		set: func(s *Settings, text string) error {
			n, err := bytesize.Parse(text)
			switch {
			case text == "0" && least == 0:
				n = 0
			case err != nil:
				return err
			case int64(n) < least:
				return fmt.Errorf("too small")
			case n > maxSize:
				return fmt.Errorf("too large")
			}
			*field(s) = int64(n)
			return nil
		},
		get: func(s *Settings) string { return bytesize.Size(*field(s)).String() },
	}
}

func countSetting(key string, least, most int, doc string, field func(*Settings) *int) definition {
	return definition{
		key: key, kind: "count", allowed: fmt.Sprintf("a whole number from %d to %d", least, most), doc: doc,
		set: func(s *Settings, text string) error {
			n, err := strconv.Atoi(text)
			switch {
			case err != nil:
				return fmt.Errorf("no whole number")
			case n < least:
				return fmt.Errorf("too small")
			case n > most:
				return fmt.Errorf("too large")
			}
			*field(s) = n
			return nil
		},
		get: func(s *Settings) string { return strconv.Itoa(*field(s)) },
	}
}

func boolSetting(key, doc string, field func(*Settings) *bool) definition {
	return definition{
		key: key, kind: "bool", allowed: "true or false", doc: doc,
		set: func(s *Settings, text string) error {
			if text != "true" && text != "false" {
				return fmt.Errorf("neither true nor false")
			}
			*field(s) = text == "true"
			return nil
		},
		get: func(s *Settings) string { return strconv.FormatBool(*field(s)) },
	}
}

func durationSetting(key string, least, most time.Duration, doc string, field func(*Settings) *time.Duration) definition {
	return definition{
		key: key, kind: "duration", allowed: fmt.Sprintf("a time, such as 90s, 20m or 72h, from %v to %v", Duration(least), Duration(most)), doc: doc,
		set: func(s *Settings, text string) error {
			d, err := time.ParseDuration(text)
			switch {
			case err != nil:
				return fmt.Errorf("no time")
			case d < least:
				return fmt.Errorf("too short")
			case d > most:
				return fmt.Errorf("too long")
			}
			*field(s) = d
			return nil
		},
		get: func(s *Settings) string { return Duration(*field(s)).String() },
	}
}

func poolSetting(key, doc string, field func(*Settings) *string) definition {
	return definition{
		key: key, kind: "pool", allowed: "the name of a pool, or empty", doc: doc,
		set: func(s *Settings, text string) error {
			if text != "" {
				if err := CheckPoolName(text); err != nil {
					return err
				}
			}
			*field(s) = text
			return nil
		},
		get: func(s *Settings) string { return *field(s) },
	}
}
