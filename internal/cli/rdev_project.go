package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"stella/internal/rdev"
)

// projectHelp says which project a command is about.
const projectHelp = `The project is the one that --project or STELLA_RDEV_PROJECT names, else that of the current
directory, or the only one that there is.`

// projectFlag says which project a command is about.
type projectFlag struct {
	app  *app
	name string
	// here says that another directory of this machine than the current one has to be named.
	here bool
}

func (f *projectFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.name, "project", "p", "", "`name` of the project (default $STELLA_RDEV_PROJECT, else that of the current directory)")
}

// named is the project that the flag or the variable names; empty is none.
func (f *projectFlag) named() string {
	if f.name != "" {
		return f.name
	}
	return f.app.getenv("STELLA_RDEV_PROJECT")
}

// find finds the project that is meant, and where below it the current directory is.
func (f *projectFlag) find(ctx context.Context, service rdevService) (project, below string, err error) {
	if name := f.named(); name != "" {
		return name, "", rdev.CheckProject(name)
	}
	list, err := service.Projects(ctx)
	if err != nil {
		return "", "", err
	}
	if list.Problem != "" {
		f.app.warn("not all projects are known: " + list.Problem)
	}
	if service.near {
		here, err := os.Getwd()
		if err != nil {
			return "", "", fmt.Errorf("which directory this is cannot be told; name the project with --project: %w", err)
		}
		if name, below, ok := projectOf(here, list.Projects); ok {
			return name, below, nil
		}
	}
	if len(list.Projects) == 1 && !(f.here && service.near && list.Projects[0].Kind == rdev.Local) {
		return list.Projects[0].Name, "", nil
	}
	return "", "", noProject(list.Projects)
}

// projectOf is the project that a directory is in, the nearest one, and where in it. Links may lead there.
func projectOf(dir string, projects []rdev.Project) (name, below string, ok bool) {
	dir = resolved(dir)
	nearest := 0
	for _, p := range projects {
		if p.Kind != rdev.Local {
			continue
		}
		root := resolved(p.Directory)
		rel, err := filepath.Rel(root, dir)
		if err == nil && filepath.IsLocal(rel) && len(root) > nearest {
			name, below, ok, nearest = p.Name, rel, true, len(root)
		}
	}
	if below == "." {
		below = ""
	}
	return name, below, ok
}

// resolved is a path without links, as far as that can be told.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// mostNames is how many projects are named to choose from.
const mostNames = 10

func noProject(projects []rdev.Project) error {
	if len(projects) == 0 {
		return fmt.Errorf("the service has no project that a command could run in; it is told of them when it is started")
	}
	var names []string
	for _, p := range projects[:min(len(projects), mostNames)] {
		names = append(names, p.Name)
	}
	and := ""
	if more := len(projects) - len(names); more > 0 {
		and = fmt.Sprintf(" and %d more", more)
	}
	return fmt.Errorf("this directory is in no project; name one with --project: %s%s", strings.Join(names, ", "), and)
}
