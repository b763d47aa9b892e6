//go:build !linux

package listen

import (
	"context"
	"errors"
	"net"
)

// Unix is not done here: only on Linux is a socket made with its permissions.
func Unix(context.Context, string, string) (net.Listener, error) {
	return nil, errors.New("Unix sockets need Linux; listen on 127.0.0.1")
}

// Peer cannot tell.
func Peer(net.Conn) (uid int, ok bool) { return 0, false }
