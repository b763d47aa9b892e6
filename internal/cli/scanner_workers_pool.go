package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"stella/internal/bytesize"
	"stella/internal/scanner"
)

// workersAdd is "stella scanner workers add".
type workersAdd struct {
	app    *app
	server *serverFlags
	format string
	pool   string
	memory bytesize.Size
	count  int
}

func newScannerWorkersAdd(a *app, f *serverFlags) *cobra.Command {
	c := &workersAdd{app: a, server: f, format: "text", count: 1}
	cmd := &cobra.Command{
		Use:   "add --pool NAME --memory SIZE",
		Short: "Add a pool of workers, or change its memory and count",
		Long: `Add a pool: so many workers with so much memory each, on every server. If the pool
is there, its memory and count are changed; workers with another limit are
restarted when their scan ends. The pool default is changed by the settings
worker.memory_limit and worker.count.

Scans come into a pool when an image is large (settings routing.large_image_*),
when a smaller pool was too small for it, or when it is asked for.`,
		Example: `  stella scanner workers add --pool large-images --memory 16Gi --count 2
  stella scanner config set routing.large_image_pool large-images`,
		Args: noArgs,
		RunE: c.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.pool, "pool", "", "`name` of the pool")
	flags.Var(&c.memory, "memory", "memory limit of each worker, such as 16Gi")
	flags.IntVar(&c.count, "count", c.count, "`workers` on each server")
	addFormat(cmd, &c.format, textFormats)
	completePools(cmd, "pool", a, f)
	return cmd
}

func (c *workersAdd) run(cmd *cobra.Command, _ []string) error {
	if err := checkFormat(cmd, c.format, textFormats); err != nil {
		return err
	}
	switch {
	case c.pool == "":
		return usagef(cmd, "name the pool: --pool large-images")
	case c.memory == 0:
		return usagef(cmd, "say how much memory each worker may use: --memory 16Gi")
	}
	pool := scanner.Pool{Name: c.pool, Memory: int64(c.memory), Count: c.count}
	if err := pool.Check(0); err != nil {
		return &usageError{cmd, err}
	}
	service, err := c.server.client(c.app)
	if err != nil {
		return err
	}
	changed, err := service.PutPool(cmd.Context(), pool)
	if err != nil {
		return err
	}
	c.app.warn(changed.Warnings...)
	return c.app.show(c.format, changed, func(w io.Writer) error {
		if _, err := fmt.Fprintf(w, "pool %s: %s with %s each, %d running\n",
			changed.Name, countOf(int64(changed.Count), "worker"), bytesize.Text(changed.Memory), changed.Running); err != nil {
			return err
		}
		return writeDraining(w, &changed)
	})
}

// writeDraining says which workers have yet to be restarted.
func writeDraining(w io.Writer, c *scanner.PoolChange) error {
	if len(c.Draining) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "pool %s: restarting when their scans end: %s\n", c.Name, shortList(c.Draining))
	return err
}

func newScannerWorkersRemove(a *app, f *serverFlags) *cobra.Command {
	var pool string
	cmd := &cobra.Command{
		Use:   "remove --pool NAME",
		Short: "Remove a pool; scans that run end first",
		Long: `Remove a pool. Its workers end after the scans that they have; jobs that wait for
the pool wait for the pool default instead.`,
		Example: "  stella scanner workers remove --pool large-images",
		Args:    noArgs,
	}
	cmd.Flags().StringVar(&pool, "pool", "", "`name` of the pool")
	completePools(cmd, "pool", a, f)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if pool == "" {
			return usagef(cmd, "name the pool: --pool large-images")
		}
		service, err := f.client(a)
		if err != nil {
			return err
		}
		if err := service.RemovePool(cmd.Context(), pool); err != nil {
			return err
		}
		return a.result(func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "pool %s is removed\n", pool)
			return err
		})
	}
	return cmd
}
