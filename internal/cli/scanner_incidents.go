package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

func newScannerIncidents(a *app, f *serverFlags) *cobra.Command {
	return group(&cobra.Command{
		Use:   "incidents",
		Short: "Look at workers that were OOM-killed",
	}, newScannerIncidentsList(a, f))
}

func newScannerIncidentsList(a *app, f *serverFlags) *cobra.Command {
	format := "table"
	var last span
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List OOM kills of workers: the image, limit, layer and file, and what was done",
		Example: `  stella scanner incidents list --last 24h
  stella scanner incidents list -o json | jq '.[] | {image, limit, action}'`,
		Args: noArgs,
	}
	cmd.Flags().Var(&last, "last", "only those of so much time, such as 30m, 24h or 7d")
	addFormat(cmd, &format, tableFormats)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, tableFormats); err != nil {
			return err
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		incidents, err := service.WorkerKills(cmd.Context(), time.Duration(last))
		if err != nil {
			return err
		}
		if len(incidents) == 0 {
			a.note("no worker was OOM-killed")
			if format == "table" || format == "wide" {
				return nil
			}
		}
		return a.show(format, list(incidents), a.table(format, incidentRows(incidents, time.Now(), format == "wide")))
	}
	return cmd
}

// incidentRows are OOM kills for people.
func incidentRows(incidents []scanner.WorkerKill, now time.Time, wide bool) *rows {
	head := []string{"ID", "IMAGE", "AGE", "JOB", "POOL", "LIMIT", "PEAK", "EXIT", "ACTION", "LAYER", "FILE"}
	if wide {
		head = append(head, "ATTEMPT", "WORKER", "KILLS", "DIGEST", "MESSAGE")
	}
	r := newRows(1, head...)
	for _, i := range incidents {
		cells := []string{i.ID, i.Image, since(now, i.At), fmt.Sprint(i.Job), i.Pool, bytesize.Text(i.Limit), memoryText(i.Peak),
			exitText(i.ExitCode), i.Action, layerText(&i.Progress), i.Progress.Path}
		if wide {
			cells = append(cells, fmt.Sprint(i.Number), i.Worker, fmt.Sprint(i.Kills), i.Digest[:min(len(i.Digest), shortDigest)], i.Message)
		}
		r.add(cells...)
	}
	return r
}
