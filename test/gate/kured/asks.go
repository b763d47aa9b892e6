//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// maxAlerts bounds an answer of Prometheus, in bytes.
const maxAlerts = 64 << 20

// newSentinel is what asks whether a reboot is wanted: a file, or a command on the host.
func newSentinel(o options, log *slog.Logger) (func() (bool, error), error) {
	if o.sentinelCommand == "" {
		return func() (bool, error) {
			_, err := os.Stat(o.sentinel)
			return err == nil, nil
		}, nil
	}
	if _, err := split(o.sentinelCommand); err != nil {
		return nil, err
	}
	return func() (bool, error) {
		code, err := o.hostCommand(o.sentinelCommand, log)
		if err == nil && code != 0 && code != 1 {
			log.Warn("the sentinel command ended with another code than 0 and 1", "command", o.sentinelCommand, "code", code)
		}
		return code == 0, err
	}, nil
}

// hostCommand runs a command among the mounts of process 1, and returns its exit code. An error says that it could not be started.
func (o options) hostCommand(command string, log *slog.Logger) (code int, err error) {
	words, err := split(command)
	if err != nil {
		return -1, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// This thread ends with its goroutine, because it is never unlocked: none other gets the host's mounts.
		runtime.LockOSThread()
		if err = enterHost(o.mounts); err != nil {
			return
		}
		var said bytes.Buffer
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdout, cmd.Stderr = &said, &said
		err = cmd.Run()
		code = cmd.ProcessState.ExitCode() // -1 where it was not started
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = nil
		}
		log.Info("ran on the host", "command", command, "code", code, "said", said.String())
	}()
	<-done
	if err != nil {
		return -1, fmt.Errorf("run %q on the host: %w", command, err)
	}
	return code, nil
}

// enterHost gives this thread the mounts of the host.
func enterHost(mounts string) error {
	host, err := os.Open(mounts)
	if err != nil {
		return err
	}
	defer host.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("a root directory of its own: %w", err)
	}
	return os.NewSyscallError("setns", unix.Setns(int(host.Fd()), unix.CLONE_NEWNS))
}

// split splits a command into words at spaces that are not within quotes.
func split(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	begun, quote := false, rune(0)
	for _, r := range command {
		switch {
		case r == quote && quote != 0:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			begun, quote = true, r
		case r == ' ' || r == '\t' || r == '\n':
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	if begun {
		words = append(words, word.String())
	}
	if quote != 0 || len(words) == 0 {
		return nil, fmt.Errorf("%q is no command", command)
	}
	return words, nil
}

// blocked says which alerts block, or why that is not known.
func (d *daemon) blocked(ctx context.Context) string {
	if d.prometheus == "" {
		return ""
	}
	names, err := d.alerts(ctx)
	if err != nil {
		return err.Error()
	}
	return strings.Join(names, " ")
}

// alerts asks Prometheus.
func (d *daemon) alerts(ctx context.Context) ([]string, error) {
	address := strings.TrimSuffix(d.prometheus, "/") + "/api/v1/query?" + url.Values{"query": {"ALERTS"}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var found struct {
		Status string `json:"status"`
		Data   struct {
			Result []struct {
				Metric struct {
					Name  string `json:"alertname"`
					State string `json:"alertstate"`
				} `json:"metric"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAlerts)).Decode(&found); err != nil {
		return nil, fmt.Errorf("Prometheus' alerts: HTTP status %s: %w", answer.Status, err)
	}
	if found.Status != "success" {
		return nil, fmt.Errorf("Prometheus' alerts: its status is %q", found.Status)
	}
	var names []string
	for _, a := range found.Data.Result {
		m := a.Metric
		counts := d.filter == "" || d.names.MatchString(m.Name) == d.matchOnly
		if counts && (!d.firingOnly || m.State == "firing") {
			names = append(names, m.Name)
		}
	}
	return names, nil
}
