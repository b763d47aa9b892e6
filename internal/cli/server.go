package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"stella/internal/client"
	"stella/internal/scanner"
)

// knockTime bounds the look whether somebody listens on this machine's socket.
const knockTime = time.Second

// serverFlags say which scanner service a command talks to.
type serverFlags struct {
	address string
	keyFile string
	caFile  string
}

// add adds the flags to a command, or to a group of them.
func (f *serverFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.address, "server", "", "`address` of the scanner service: unix:///PATH, https://HOST:PORT or http://HOST:PORT (default $STELLA_SERVER, else this machine's socket)")
	flags.StringVar(&f.keyFile, "api-key-file", "", "`file` with the API key, which nobody else may read (default $STELLA_API_KEY is the key itself)")
	flags.StringVar(&f.caFile, "server-ca", "", "`file` with the certificates (PEM) that the server's is checked against (default the system's)")
}

// endpoint is where a service is.
type endpoint struct {
	address string
	// asked says that the flag or the variable names it, and not the mere existence of a socket.
	asked bool
}

// endpoint finds the service that is meant; false where there is none.
func (f *serverFlags) endpoint(getenv func(string) string) (endpoint, bool) {
	if f.address != "" {
		return endpoint{f.address, true}, true
	}
	if address := getenv("STELLA_SERVER"); address != "" {
		return endpoint{address, true}, true
	}
	return find(sockets(getenv))
}

// find returns the first of some sockets that is there.
func find(sockets []string) (endpoint, bool) {
	for _, socket := range sockets {
		if info, err := os.Stat(socket); err == nil && info.Mode().Type() == os.ModeSocket {
			return endpoint{"unix://" + socket, false}, true
		}
	}
	return endpoint{}, false
}

// sockets are where a service of this machine listens.
func sockets(getenv func(string) string) []string { return ownFirst(scanner.Socket, getenv) }

// ownFirst are the sockets of what this user started, and of what root did.
func ownFirst(socket func(uid int, runtimeDir string) string, getenv func(string) string) []string {
	all := []string{socket(os.Geteuid(), getenv("XDG_RUNTIME_DIR")), socket(0, "")}
	if all[0] == "" || all[0] == all[1] {
		return all[1:]
	}
	return all
}

// client makes a client of the service that is meant.
func (f *serverFlags) client(a *app) (*client.Client, error) {
	e, ok := f.endpoint(a.getenv)
	if !ok {
		return nil, &noServerError{sockets(a.getenv)}
	}
	return f.dial(a, e)
}

// dial makes a client; nothing is sent before it is used.
func (f *serverFlags) dial(a *app, e endpoint) (*client.Client, error) {
	key := a.getenv("STELLA_API_KEY")
	if f.keyFile != "" {
		var err error
		if key, err = client.ReadKey(f.keyFile); err != nil {
			return nil, fmt.Errorf("--api-key-file: %w", err)
		}
	}
	return client.New(client.Options{Address: e.address, Key: key, CAFile: f.caFile, UserAgent: "stella/" + a.version})
}

// knock finds out whether somebody listens on a socket that was only found.
func knock(ctx context.Context, e endpoint) error {
	ctx, cancel := context.WithTimeout(ctx, knockTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(e.address, "unix://"))
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Err
		}
		return err
	}
	return conn.Close()
}

// noServerError says that no service was named, and that none is on this machine.
type noServerError struct{ sockets []string }

func (e *noServerError) Error() string {
	return fmt.Sprintf("no scanner service is named by --server or STELLA_SERVER, and there is no socket %s; start one with: stella up",
		strings.Join(e.sockets, " or "))
}
