package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

func newScannerStatus(a *app, f *serverFlags) *cobra.Command {
	format := "text"
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the service at a glance: servers, pools, what waits and runs",
		Example: `  stella scanner status
  stella scanner status -o json | jq .pending`,
		Args: noArgs,
	}
	addFormat(cmd, &format, textFormats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, textFormats); err != nil {
			return err
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		s, err := service.Status(cmd.Context())
		if err != nil {
			return err
		}
		s.Instances, s.Pools = list(s.Instances), list(s.Pools)
		return a.show(format, s, func(w io.Writer) error {
			return writeStatus(w, &s, time.Now(), a.resultWidth(), a.console.glyphs().ellipsis)
		})
	}
	return cmd
}

// writeStatus writes a service's status for people.
func writeStatus(w io.Writer, s *scanner.ServiceStatus, now time.Time, width int, ellipsis string) error {
	var idle, busy, waiting int
	for _, p := range s.Pools {
		idle, busy, waiting = idle+p.Idle, busy+p.Busy, waiting+p.Waiting
	}
	f := newFields(w)
	f.line("Version", s.Version)
	f.line("Store", s.Store)
	f.line("Isolation", s.Isolation)
	f.line("Workers", fmt.Sprintf("%d idle, %d busy, %d waiting for memory", idle, busy, waiting))
	f.line("Memory", fmt.Sprintf("%s of %s given to workers", bytesize.Text(s.Reserved), bytesize.Text(s.Memory)))
	f.line("Jobs", fmt.Sprintf("%s pending, %s running", countText(s.Pending), countText(s.Running)))
	f.line("OOM kills", countText(s.Incidents)+" in the last hour")
	if err := f.flush(); err != nil {
		return err
	}
	pools := newRows(0, "POOL", "MEMORY", "COUNT", "IDLE", "BUSY", "WAITING", "PENDING")
	for _, p := range s.Pools {
		pools.add(p.Name, bytesize.Text(p.Memory), fmt.Sprint(p.Count), fmt.Sprint(p.Idle), fmt.Sprint(p.Busy), fmt.Sprint(p.Waiting), countText(p.Pending))
	}
	fmt.Fprintln(w)
	if err := pools.write(w, width, ellipsis); err != nil {
		return err
	}
	servers := newRows(0, "SERVER", "ALIVE", "HOST", "VERSION", "AGE", "SEEN")
	for _, i := range s.Instances {
		servers.add(i.Name, yesNo(i.Alive), i.Host, i.Version, since(now, i.Started), since(now, i.Seen))
	}
	fmt.Fprintln(w)
	return servers.write(w, width, ellipsis)
}
