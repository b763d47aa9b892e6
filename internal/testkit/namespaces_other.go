//go:build !linux

package testkit

import "runtime"

func namespaces() error {
	return Missing("namespaces are a feature of Linux, and this is " + runtime.GOOS)
}
