// Package corpus is a collection of logs with what happened in them, for tests of
// whatever reads logs. It is not linked into the product.
//
// A [Case] is one log, NAME.log or NAME.log.gz in testdata, and beside it NAME.json with the kills that it tells
// of. Both were written by hand: the log after the formats of the kernels and of the programs that keep logs, the kills
// by reading the log. Nothing writes them: a program that made both would test itself alone.
//
// Sizes in the JSON are texts as the log has them ("1024kB", "16480 pages", "67108864"), so that one can
// be compared with the other by eye.
//
// Hazard: what a log does not tell is not in the JSON, and must be empty in what was read from it:
// a reader that guesses fails here.
package corpus

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

//go:embed testdata
var files embed.FS

// Case is one log.
type Case struct {
	Name string
	// File is the log's name in testdata, and Log its bytes; they may be compressed with gzip.
	File string
	Log  []byte
	// Pods is what kubectl get pods -o json said afterwards (testdata/pods/NAME.json); nil for most.
	Pods []byte
	Want Want
}

// Want is what a log tells.
type Want struct {
	// About says what the case is there for.
	About string `json:"about"`
	// Year is that of a log which has none, and Zone the offset from UTC of one which has none ("+09:00"); empty is UTC.
	Year int    `json:"year"`
	Zone string `json:"zone"`
	// PageSize is that of the machine in bytes, 0 is 4096. PageSizeFromLog says that the log tells it.
	PageSize        int64  `json:"page_size"`
	PageSizeFromLog bool   `json:"page_size_from_log"`
	Kills           []Kill `json:"kills"`
	// Unfinished is how often the OOM killer was invoked and no line says who was killed.
	Unfinished int `json:"unfinished"`
}

// Kill is one kill as the log tells it. Pointers are nil where the log does not tell, or not in one way alone.
type Kill struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	UID  *int   `json:"uid"`
	// Node, Time (RFC 3339) and Boot (seconds since boot) are of the line "Killed process".
	Node string `json:"node"`
	Time string `json:"time"`
	Boot string `json:"boot"`

	Invoker *string `json:"invoker"`
	Cgroup  string  `json:"cgroup"`
	Limit   Limit   `json:"limit"`

	Total      Amount  `json:"total"`
	Anon       Amount  `json:"anon"`
	File       Amount  `json:"file"`
	Shmem      Amount  `json:"shmem"`
	PageTables *Amount `json:"page_tables"`
	ScoreAdj   *int    `json:"score_adj"`

	// Group is the pid that was chosen where a whole cgroup was killed, Repeated how many more lines tell of this very kill.
	Group    int `json:"group"`
	Repeated int `json:"repeated"`

	// Tasks is how many rows the table has, and Largest the first of them by memory.
	Tasks   int   `json:"tasks"`
	Largest *Task `json:"largest"`
	// Memory is what was used below the limit, by the names of oom.Memory in JSON; kinds that are left out are not compared.
	Memory map[string]Amount `json:"memory"`
}

// Limit is the limit that fired, as the log tells it: whose cgroup it is (a container's, a pod's) is not its business.
type Limit struct {
	// Scope is node, cpuset, cgroup or unknown; empty is not compared.
	Scope    string  `json:"scope"`
	Cgroup   string  `json:"cgroup"`
	Bytes    *Amount `json:"bytes"`
	Usage    *Amount `json:"usage"`
	Failures int64   `json:"failures"`
}

// Task is a row of the table.
type Task struct {
	PID      int    `json:"pid"`
	Comm     string `json:"comm"`
	Resident Amount `json:"resident"`
}

// Cases are all logs, in the order of their names.
func Cases() ([]Case, error) {
	names, err := fs.Glob(files, "testdata/*.json")
	if err != nil {
		return nil, err
	}
	var all []Case
	for _, name := range names {
		c, err := load(strings.TrimSuffix(name, ".json"))
		if err != nil {
			return nil, fmt.Errorf("corpus %s: %w", name, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func load(base string) (Case, error) {
	c := Case{Name: path.Base(base)}
	text, err := files.ReadFile(base + ".json")
	if err != nil {
		return c, err
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c.Want); err != nil {
		return c, err
	}
	if pods, err := files.ReadFile("testdata/pods/" + c.Name + ".json"); err == nil {
		c.Pods = pods
	}
	for _, end := range []string{".log", ".log.gz"} {
		if c.Log, err = files.ReadFile(base + end); err == nil {
			c.File = path.Base(base) + end
			return c, nil
		}
	}
	return c, err
}

// Location is the zone of a log whose lines have none.
func (w Want) Location() (*time.Location, error) {
	if w.Zone == "" {
		return time.UTC, nil
	}
	t, err := time.Parse("-07:00", w.Zone)
	if err != nil {
		return nil, fmt.Errorf("zone %q: %w", w.Zone, err)
	}
	return t.Location(), nil
}
