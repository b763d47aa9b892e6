//go:build !linux

package cgroup

import (
	"os/exec"
	"runtime"
)

// Probe says no: only Linux has cgroups.
func Probe() (Support, error) {
	return Support{Verdict: No, Reason: "cgroups are a feature of Linux, and this is " + runtime.GOOS}, nil
}

// Group cannot be made here.
type Group struct{}

// New returns an error that matches [ErrUnsupported].
func New(string, Limit) (*Group, error) {
	s, _ := Probe()
	return nil, &UnsupportedError{s}
}

// Dir returns the empty string.
func (g *Group) Dir() string { return "" }

// Start returns [ErrUnsupported].
func (g *Group) Start(*exec.Cmd) error { return ErrUnsupported }

// StartFrom returns [ErrUnsupported].
func (g *Group) StartFrom(*exec.Cmd, func() error) error { return ErrUnsupported }

// LimitProcesses returns [ErrNoProcessLimit].
func (g *Group) LimitProcesses(int64) error { return ErrNoProcessLimit }

// PIDs returns [ErrUnsupported].
func (g *Group) PIDs() ([]int, error) { return nil, ErrUnsupported }

// Kill returns [ErrUnsupported].
func (g *Group) Kill() error { return ErrUnsupported }

// Stats returns [ErrUnsupported].
func (g *Group) Stats() (Stats, error) { return Stats{}, ErrUnsupported }

// Version returns 0.
func (g *Group) Version() int { return 0 }

// ResetPeak returns [ErrUnsupported].
func (g *Group) ResetPeak() error { return ErrUnsupported }

// RemoveLeft finds none.
func RemoveLeft(string) (int, error) { return 0, nil }

// MemoryCeiling returns [ErrUnsupported].
func MemoryCeiling() (Ceiling, error) { return Ceiling{}, ErrUnsupported }

// Close does nothing.
func (g *Group) Close() error { return nil }
