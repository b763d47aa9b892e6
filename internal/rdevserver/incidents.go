package rdevserver

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"stella/internal/bytesize"
	stellad "stella/internal/client"
	"stella/internal/incident"
	"stella/internal/incident/spool"
	"stella/internal/rdev"
)

// incidents tells stellad of commands that were killed for want of memory.
type incidents struct {
	*spool.Spool
	host string
	o    Options
}

// openIncidents opens what waits for stellad, where somebody said where that is.
func (p *parts) openIncidents(context.Context) error {
	if p.o.IncidentsTo == "" {
		return nil
	}
	c, err := stellad.New(stellad.Options{Address: p.o.IncidentsTo, KeyFile: p.o.IncidentsKeyFile, UserAgent: "rdev-api/" + p.o.Version})
	if err != nil {
		return fmt.Errorf("--incidents-to: %w", err)
	}
	p.end.add("connections to stellad", func() error { c.Close(); return nil })
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("the host's name: %w", err)
	}
	s, err := spool.Open(filepath.Join(p.o.StateDir, "incidents"), spool.Options{Send: c.SendEvents, Log: p.o.Log})
	if err != nil {
		return err
	}
	p.end.add("events of incidents", s.Close)
	p.incidents = &incidents{s, host, p.o}
	return nil
}

// killed tells that the kernel killed processes of a command.
func (i *incidents) killed(c rdev.Command) {
	if err := i.Add(eventsOf(i.host, c)...); err != nil {
		i.o.Log.Error("stellad will not hear of a command that was killed for want of memory", "command", c.ID, "error", err)
	}
}

// killedCommand is what an event says of a command. Its arguments, which can be secret, are not told.
type killedCommand struct {
	Command string   `json:"command"`
	Project string   `json:"project"`
	Program string   `json:"program"`
	By      string   `json:"by"`
	End     rdev.End `json:"end"`
}

// eventsOf are the events of a command's kill. The kills of one program in one project on one day (UTC) are one incident: what is killed over and over
// is one thing to deal with, and when somebody has dealt with it, a kill of another day is another.
func eventsOf(host string, c rdev.Command) []incident.Event {
	program := "sh" // of a line for it
	if len(c.Request.Argv) > 0 {
		program = clip(path.Base(c.Request.Argv[0]))
	}
	day, oom := c.Finished.UTC().Format(time.DateOnly), c.End.OOM
	id := incident.NewID("command", host, c.Project, program, day)
	actor, limit := "rdev-api on "+host, &incident.Limit{Scope: "cgroup", Bytes: oom.Limit}
	text := fmt.Sprintf("command %s, which %s asked for, was killed for want of memory", c.ID, clip(c.By))
	if oom.Survived {
		text = fmt.Sprintf("of command %s, which %s asked for, a process was killed for want of memory, and it went on", c.ID, clip(c.By))
	}
	if oom.Limit > 0 {
		text += ": limit " + bytesize.Text(oom.Limit)
	}
	if oom.VictimComm != "" {
		text += fmt.Sprintf("; the kernel killed %s (%d)", clip(oom.VictimComm), oom.VictimPID)
	}
	data, err := json.Marshal(killedCommand{c.ID, c.Project, program, clip(c.By), *c.End})
	if err != nil || len(data) > incident.MaxData {
		data = nil
	}
	return []incident.Event{{
		Incident: id, ID: "opened", Time: c.Finished, Kind: incident.Opened, Actor: actor, Source: incident.SourceCommand, Limit: limit,
		Text:    fmt.Sprintf("%s was killed for want of memory in project %s", program, c.Project),
		Subject: &incident.Subject{Name: fmt.Sprintf("%s: %s", c.Project, program), Node: host},
	}, {
		Incident: id, ID: incident.NewID(c.ID), Time: c.Finished, Kind: incident.Killed, Actor: actor, Text: text, Kills: cmp.Or(oom.Kills, 1), Peak: oom.Peak, Limit: limit, Data: data,
	}}
}

// maxWord is as much as is told of a name that somebody else chose, in bytes.
const maxWord = 256

func clip(text string) string { return fmt.Sprintf("%.*s", maxWord, text) }
