package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/explain"
	"stella/internal/explain/readings"
	"stella/internal/oom"
)

// samplesFlags say how to read what somebody printed in a loop.
type samplesFlags struct {
	file  string
	every time.Duration
	unit  string
	limit bytesize.Size
}

// samplesUnits are what --unit knows, as the flags of free.
var samplesUnits = map[string]int64{"": 0, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

func (f *samplesFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.file, "samples", "", "explain what this `FILE` has, and ask no agent; - is standard input")
	flags.DurationVar(&f.every, "every", 0, "how far apart the readings in --samples are, where it has no dates, such as 1s")
	flags.StringVar(&f.unit, "unit", "", "what plain numbers of free in --samples count: B, K (free -k), M (free -m) or G")
	flags.Var(&f.limit, "limit", "the memory limit of what --samples shows, such as 512Mi (default what it says itself)")
}

// check finds flags that do not go together.
func (f *samplesFlags) check(cmd *cobra.Command) error {
	changed := cmd.Flags().Changed
	if f.file == "" {
		for _, name := range []string{"every", "unit", "limit"} {
			if changed(name) {
				return usagef(cmd, "--%s is for --samples FILE; an agent knows it by itself", name)
			}
		}
		return nil
	}
	if changed("since") {
		return usagef(cmd, "--since is for what an agent has; all of --samples is looked at")
	}
	if changed("flame") {
		return usagef(cmd, "--flame is for heap profiles that an agent has; --samples has none")
	}
	if _, ok := samplesUnits[f.unit]; !ok {
		return usagef(cmd, "--unit %s: write B, K, M or G", quoteIfOdd(f.unit))
	}
	if f.every < 0 {
		return usagef(cmd, "--every %v: write a time such as 1s", f.every)
	}
	return nil
}

// input is what is known of the thing of that name, "" for the only one.
func (f *samplesFlags) input(ctx context.Context, a *app, name string) (explain.Input, error) {
	table, err := f.read(ctx, readings.Options{Name: name, Every: f.every, Unit: samplesUnits[f.unit], Limit: int64(f.limit)})
	if err != nil {
		return explain.Input{}, fmt.Errorf("--samples %s: %w", quoteIfOdd(f.file), err)
	}
	if table.LeftOut > 0 {
		a.note("%s left out that are no readings, the first in line %d: %s", countOf(int64(table.LeftOut), "line"), table.FirstLine, oneLine(table.First))
	}
	return explain.Input{
		Container: oom.Container{Name: table.Name}, Samples: table.Samples,
		Now: table.Samples[len(table.Samples)-1].Time,
	}, nil
}

func (f *samplesFlags) read(ctx context.Context, o readings.Options) (readings.Table, error) {
	if f.file == "-" {
		return readings.Read(ctx, &pollReader{ctx, os.Stdin}, o)
	}
	file, err := os.Open(f.file)
	if err != nil {
		return readings.Table{}, err
	}
	defer file.Close()
	return readings.Read(ctx, file, o)
}
