package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"stella/internal/rdev"
)

func newRdevProjects(a *app, f *rdevFlags) *cobra.Command {
	format, bare := "table", false
	cmd := &cobra.Command{
		Use:   "projects",
		Short: "List the projects that commands can run in",
		Long: `List the projects that commands can run in: directories of the service's machine, and pods.

` + rdevHelp,
		Example: `  stella rdev projects
  stella rdev projects -o name`,
		Args: noArgs,
	}
	addFormat(cmd, &format, nameFormats)
	addNoHeaders(cmd.Flags(), &bare)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := checkFormat(cmd, format, nameFormats); err != nil {
			return err
		}
		return f.ask(cmd.Context(), a, func(ctx context.Context, service rdevService) error {
			found, err := service.Projects(ctx)
			if err != nil {
				return err
			}
			if found.Problem != "" {
				a.warn("not all projects are known: " + found.Problem)
			}
			return a.show(format, list(found.Projects), a.projectsText(format, bare, found.Projects))
		})
	}
	return cmd
}

// projectsText writes projects for people, or their names.
func (a *app) projectsText(format string, bare bool, projects []rdev.Project) func(io.Writer) error {
	if format == "name" {
		return writeNames(projects, func(p *rdev.Project) string { return p.Name })
	}
	r := newRows(3, "NAME", "KIND", "READY", "WHERE", "REASON")
	r.bare = bare
	for i := range projects {
		p := &projects[i]
		r.add(p.Name, string(p.Kind), yesNo(p.Ready), projectPlace(p), p.Reason)
	}
	return a.table(format, r)
}

// projectPlace says where a project is.
func projectPlace(p *rdev.Project) string {
	if p.Kind != rdev.Pod {
		return p.Directory
	}
	place := p.Namespace + "/" + p.PodName
	if p.Container != "" {
		place += "/" + p.Container
	}
	if p.Directory != "" {
		place += ":" + p.Directory
	}
	return place
}
