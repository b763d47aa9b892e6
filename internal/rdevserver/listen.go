package rdevserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"stella/internal/listen"
)

// listeners are where requests come in.
type listeners struct {
	api   []net.Listener
	admin net.Listener
}

// spareConnections are those that a listener has beside the streams.
const spareConnections = 1024

// listen listens everywhere, or nowhere.
func (p *parts) listen(ctx context.Context) (ls listeners, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls.api {
				l.Close()
			}
		}
	}()
	if p.o.Socket != "" {
		if err := os.MkdirAll(filepath.Dir(p.o.Socket), 0o755); err != nil {
			return ls, fmt.Errorf("make the directory of the service's socket: %w", err)
		}
		l, err := listen.Unix(ctx, p.o.Socket, p.o.SocketGroup)
		if err != nil {
			return ls, err
		}
		ls.api = append(ls.api, l)
	}
	if p.o.Listen != "" {
		o := p.o.tcp(p.o.Listen)
		o.Connections = p.o.Streams + spareConnections
		l, err := listen.TCP(ctx, o)
		if err != nil {
			return ls, err
		}
		p.o.Listen = l.Addr().String() // where it was asked for any port
		ls.api = append(ls.api, l)
	}
	if p.o.Admin != "" {
		ls.admin, err = listen.TCP(ctx, p.o.tcp(p.o.Admin))
	}
	return ls, err
}

// closers are what is to be closed, with names.
type closers []closer

type closer struct {
	name  string
	close func() error
}

func (c *closers) add(name string, f func() error) { *c = append(*c, closer{name, f}) }

// close closes the last one first.
func (c *closers) close() (err error) {
	for i := len(*c) - 1; i >= 0; i-- {
		if e := (*c)[i].close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close the %s: %w", (*c)[i].name, e))
		}
	}
	return err
}
