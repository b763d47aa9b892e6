package rdev

import "time"

// Request asks for a command. One of Argv and Shell is set.
type Request struct {
	// Argv is a program and its arguments, given to it as they are.
	Argv []string `json:"argv,omitempty"`
	// Shell is a line for /bin/sh -c.
	Shell string `json:"shell,omitempty"`
	// Directory is where it begins, below the project's, without leaving it.
	Directory string `json:"directory,omitempty"`
	// Env is added to the project's environment.
	Env map[string]string `json:"env,omitempty"`
	// Stdin is what it reads, at most [MaxStdin] bytes.
	Stdin []byte `json:"stdin,omitempty"`
	// Timeout is after what time it is ended, Memory its memory limit in bytes, and Output how many bytes of its output are kept; 0 are
	// the service's defaults, and more than its bounds is refused.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	Memory  int64         `json:"memory,omitempty"`
	Output  int64         `json:"output,omitempty"`
	// Webhook is the URL that is told of the end.
	Webhook string `json:"webhook,omitempty"`
}

// Command is one run of a program.
type Command struct {
	// ID is unique for ever, and sorts by when it was asked for.
	ID      string  `json:"id"`
	Project string  `json:"project"`
	Request Request `json:"request"`
	Status  Status  `json:"status"`
	// By is who asked for it.
	By string `json:"by"`
	// Place is how many are before it in its queue, 1 is the next; 0 where it is not queued.
	Place    int       `json:"place,omitempty"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	End      *End      `json:"end,omitempty"`
	Output   Output    `json:"output"`
}

// Output is what is known of a command's log.
type Output struct {
	// Lines and Bytes are what was written, Last is the number of the last record, and Dropped how many records
	// between the head and the tail are not kept.
	Lines   int64  `json:"lines"`
	Bytes   int64  `json:"bytes"`
	Last    uint64 `json:"last"`
	Dropped int64  `json:"dropped"`
	// Gone says that it was removed, for its age or for space.
	Gone bool `json:"gone,omitempty"`
}
