package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"stella/internal/scan"
	"stella/internal/scan/sbom"
)

// scanImage is "stella scan image".
type scanImage struct {
	app     *app
	engine  engineFlags
	image   string
	outputs []string

	profileTime   bool
	profileMemory bool

	server serverFlags
	local  bool
	retry  bool
	detach bool
	pool   string
	attach bool
}

func newScanImage(a *app) *cobra.Command {
	c := &scanImage{app: a}
	cmd := &cobra.Command{
		Use:   "image REF",
		Short: "Make an SBOM of an image",
		Long: `Read every layer of an image once and write which packages are in it.

` + refHelp + `

The result goes to standard output as a table. -o chooses other formats, and a
file for each; files appear when they are complete, or not at all.

Layers that are finished are kept in the cache directory. A scan that was
interrupted goes on where it was, and another image with the same base reads
only what is new. If something in the image cannot be read, the rest is still
written; the result says what is missing, and the exit code is 5.

Where there is a scanner service, the scan is a job of it, and this command waits
for the result; which it is, is said on standard error. There is one when --server
or STELLA_SERVER names it, or when the service of this machine listens on its
Unix socket. Flags about this process make the scan run here, and so does --local:
` + flagLines(processFlags) + `
` + flagText(serviceFlags) + ` need the service.
An interrupted command leaves the job running, and says how to get its result;
--timeout then bounds each attempt of the job. Paths are the server's own, and it
decides which ones may be read.`,
		Example: `  stella scan image debian:12
  stella scan image oci-archive:app.tar -o cyclonedx-json
  stella scan image app:1.4 -o table -o spdx-json=app.spdx.json -o cyclonedx-json@1.6=app.cdx.json
  stella scan image debian:12 -o json | jq '.components | length'
  stella scan image app:1.4 --max-memory 64Mi --workers 4 --profile --profile-memory
  stella scan image app:1.4 --retry
  stella scan image app:1.4 --detach --pool large-images`,
		Args:              a.oneRef(&c.image),
		ValidArgsFunction: completeRef,
		RunE:              c.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&c.image, "image", "", "the image, instead of the argument `REF`")
	addOutput(cmd, &c.outputs, "`FORMAT[@VERSION][=FILE]`, repeatable; FORMAT is one of "+listText(sbom.Formats()), sbom.Formats()...)
	c.engine.addOpen(cmd)
	c.engine.addScan(cmd)
	flags.BoolVar(&c.profileTime, "profile", false, "report the time of each phase and extractor on standard error")
	flags.BoolVar(&c.profileMemory, "profile-memory", false, "report the memory of each phase and layer on standard error, and write a heap profile beside the result")
	c.server.add(flags)
	flags.BoolVar(&c.local, "local", false, "scan in this process, also where there is a scanner service")
	flags.BoolVar(&c.retry, "retry", false, "try the last failed job of this image again, also where the image is in quarantine")
	flags.BoolVar(&c.detach, "detach", false, "do not wait: print the job's ID, for stella scan get")
	flags.StringVar(&c.pool, "pool", "", "the `pool` of workers that tries first (default what the service's routing says)")
	flags.BoolVar(&c.attach, "attach", false, "let the service push the SBOM to the image's registry, as a referrer")
	completePools(cmd, "pool", a, &c.server)
	return cmd
}

func (c *scanImage) run(cmd *cobra.Command, _ []string) (err error) {
	if err := c.engine.check(cmd); err != nil {
		return err
	}
	outputs, err := parseOutputs(c.outputs)
	if err != nil {
		return &usageError{cmd, err}
	}
	for _, o := range outputs {
		if err := o.check(); err != nil {
			return err
		}
	}
	service, err := c.place(cmd)
	switch {
	case err != nil:
		return err
	case service != nil:
		return c.submit(cmd.Context(), service, outputs)
	}

	s := c.engine.session(c.app, c.image)
	ctx, cancel := s.limit(cmd.Context())
	defer cancel()
	var memory *memoryProfile
	if c.profileMemory {
		file := heapName(outputs, c.image)
		if memory, err = startMemoryProfile("/proc", file, int64(c.engine.memory), s.monitor.Snapshot); err != nil {
			return err
		}
	}
	stats, err := c.scan(ctx, s, outputs)
	if memory != nil {
		err = errors.Join(err, memory.end())
		memory.writeReport(c.app.console, stats, c.app.console.width(), c.app.console.glyphs())
	}
	if c.profileTime && stats != nil {
		fmt.Fprintln(c.app.console)
		writeTimes(c.app.console, stats)
	}
	return err
}

// scan reads the image and writes the result. The stats are there whenever the
// layers could be read, even if the error says that the result is partial.
func (c *scanImage) scan(ctx context.Context, s *session, outputs []output) (_ *scan.Stats, err error) {
	shown := s.showProgress()
	defer shown.stop()
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	// Of an image of ten thousand layers these are megabytes, and no document needs them.
	s.image.RawManifest, s.image.RawConfig = nil, nil
	result, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, result.Close()) }()

	doc, err := document(s.image, result, c.app)
	if err != nil {
		return &result.Stats, err
	}
	write := func(w io.Writer, f sbom.Format) error { return causeOf(ctx, sbom.Write(ctx, w, f, doc)) }
	if err := c.app.writeOutputs(outputs, shown.stop, write); err != nil {
		return &result.Stats, err
	}
	return &result.Stats, partial(result.Problems())
}
