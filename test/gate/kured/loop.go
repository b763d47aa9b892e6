//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"stella/internal/kube"
)

// loop looks once in a period, until it has rebooted.
func (d *daemon) loop(ctx context.Context) error {
	if err := d.takeBack(ctx); err != nil {
		return err
	}
	wait := d.period/2 + rand.N(d.period)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = d.period
		rebooted, err := d.look(ctx)
		if err != nil {
			return err
		}
		if rebooted {
			<-ctx.Done() // the reboot ends this, or whoever plays it
			return ctx.Err()
		}
	}
}

// look looks once. What ends it is logged; its error ends the program.
func (d *daemon) look(ctx context.Context) (rebooted bool, err error) {
	if !d.window.has(time.Now()) {
		d.log.Info("outside of the window")
		return false, nil
	}
	if wished, err := d.wished(); err != nil {
		return false, err
	} else if !wished {
		d.log.Info("no reboot is wanted")
		return false, nil
	}
	if by := d.blocked(ctx); by != "" {
		d.log.Warn("blocked", "by", by)
		return false, nil
	}
	n, err := d.self(ctx)
	if err != nil {
		return false, err
	}
	if ours, err := d.acquire(ctx, n.Spec.Unschedulable); err != nil || !ours {
		d.log.Warn("no lock", "why", err)
		return false, nil
	}
	if err := d.cordon(ctx, true); err != nil {
		d.log.Error("no drain, and so no reboot", "why", err)
		return false, d.release(ctx)
	}
	d.log.Info("reboots", "node", d.node)
	code, err := d.hostCommand(d.rebootCommand, d.log)
	if err == nil && code != 0 {
		err = fmt.Errorf("the reboot command %q ended with %d", d.rebootCommand, code)
	}
	return true, err
}

// takeBack gives the node back its pods, and the lock to others, where this was started with it.
func (d *daemon) takeBack(ctx context.Context) error {
	l, err := d.holder(ctx)
	if err != nil || l == nil || l.Node != d.node {
		return err
	}
	if !l.Metadata.Unschedulable {
		if err := d.cordon(ctx, false); err != nil {
			return err
		}
	}
	d.log.Info("back after a reboot", "node", d.node)
	return d.release(ctx)
}

// node is what is read of one.
type node struct {
	Spec struct {
		Unschedulable bool `json:"unschedulable"`
	} `json:"spec"`
}

// self is the node that this runs on.
func (d *daemon) self(ctx context.Context) (*node, error) {
	return kube.Get[node](ctx, d.api, kube.Query{Resource: kube.Nodes}, d.node)
}

func (d *daemon) cordon(ctx context.Context, cordoned bool) error {
	_, _, err := kube.Do[node](ctx, d.api, kube.Request{
		Method: http.MethodPatch, Query: kube.Query{Resource: kube.Nodes}, Name: d.node,
		Body: map[string]any{"spec": map[string]any{"unschedulable": cordoned}},
	})
	return err
}

// window is the time of a day in which reboots may be, from its first to its last second in UTC. It may go over midnight.
type window struct{ start, end time.Duration }

func newWindow(start, end string) (w window, err error) {
	if w.start, err = timeOfDay(start); err != nil {
		return w, err
	}
	w.end, err = timeOfDay(end)
	return w, err
}

func timeOfDay(text string) (time.Duration, error) {
	for _, form := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(form, text); err == nil {
			return sinceMidnight(t), nil
		}
	}
	return 0, errors.New(text + " is no time of day")
}

func sinceMidnight(t time.Time) time.Duration { return t.Sub(t.Truncate(24 * time.Hour)) }

func (w window) has(t time.Time) bool {
	at := sinceMidnight(t.UTC()).Truncate(time.Second)
	if w.start > w.end {
		return at >= w.start || at <= w.end
	}
	return at >= w.start && at <= w.end
}
