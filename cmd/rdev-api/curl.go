package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// curlTime bounds a request: a CPU profile takes as long as one asks for, and half a minute unless one does.
const curlTime = 5 * time.Minute

// curl is what this program is under that name: as much of curl as the runbook needs in a container that has nothing
// else, which is to read from this machine itself: curl [-s] [-o FILE] URL. A URL file:///PATH is a file of the
// container, where kubectl cp has no tar.
func curl(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, curlTime)
	defer cancel()
	if err := fetch(ctx, args, stdout); err != nil {
		fmt.Fprintf(stderr, "curl (of rdev-api): %v\n", err)
		return 1
	}
	return 0
}

func fetch(ctx context.Context, args []string, stdout io.Writer) (err error) {
	flags := flag.NewFlagSet("curl", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file := flags.String("o", "", "`file` to write to")
	flags.Bool("s", false, "has no effect: there is no progress to be silent about")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w; this is no full curl, but knows: curl [-s] [-o FILE] URL", err)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("%d URLs; this is no full curl, but knows: curl [-s] [-o FILE] URL", flags.NArg())
	}
	address := flags.Arg(0)
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	body, err := open(ctx, u)
	if err != nil {
		return err
	}
	defer body.Close()
	if *file != "" {
		f, err := os.Create(*file)
		if err != nil {
			return err
		}
		defer func() {
			if e := f.Close(); err == nil {
				err = e
			}
		}()
		stdout = f
	}
	_, err = io.Copy(stdout, body)
	return err
}

// open opens what is at a URL, whatever the status of an answer.
func open(ctx context.Context, u *url.URL) (io.ReadCloser, error) {
	if u.Scheme == "file" {
		return os.Open(u.Path)
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s is not this machine, and this is no full curl: it reads from localhost alone", cmp.Or(u.Hostname(), u.String()))
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := (&http.Transport{}).RoundTrip(request) // no proxy, no redirects
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}
