package explain

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is major, minor and patch.
type version [3]int

// issue is a known one. It fits where all of its fields do: what is not known of a container, as the version behind the tag latest, fits nothing.
type issue struct {
	// images are how the name of the image ends, without registry and tag.
	images []string
	// processes are the names of the processes that need the memory.
	processes []string
	// from is the first version that has it, and until the first that has it no more; zero is all further ones.
	from, until version
	Issue
}

// issues are the known ones. Each has the source in which somebody found the reason.
var issues = []issue{
	{
		images: []string{"kaniko-project/executor"}, processes: []string{"executor"},
		from: version{1, 7, 0},
		Issue: Issue{
			Title: "kaniko keeps each compressed layer in memory (--compressed-caching, which is the default)",
			Remedy: "Add --compressed-caching=false to the arguments of the executor: it then compresses a layer twice instead of keeping it. " +
				"The arguments are not known here: where it is set already, it is something else.",
			Source: "https://github.com/GoogleContainerTools/kaniko/issues/1680",
		},
	},
	{
		images: []string{"kaniko-project/executor"}, processes: []string{"executor"},
		from: version{1, 5, 0}, until: version{1, 7, 0},
		Issue: Issue{
			Title:  "kaniko keeps each compressed layer in memory, and has no option against it before v1.7.0",
			Remedy: "Use v1.7.0 or newer, with --compressed-caching=false.",
			Source: "https://github.com/GoogleContainerTools/kaniko/pull/1722",
		},
	},
	{
		images: []string{"kaniko-project/warmer"}, processes: []string{"warmer"},
		until: version{1, 19, 0},
		Issue: Issue{
			Title:  "the warmer of kaniko leaks memory before v1.19.0",
			Remedy: "Use v1.19.0 or newer.",
			Source: "https://github.com/GoogleContainerTools/kaniko/pull/2763",
		},
	},
}

// issue is the known one that fits; nil is none.
func (v *view) issue() *Issue {
	name, tag := splitImage(v.container.Image)
	has, ok := parseVersion(tag)
	if !ok {
		return nil
	}
	for _, i := range issues {
		image := slices.ContainsFunc(i.images, func(end string) bool { return name == end || strings.HasSuffix(name, "/"+end) })
		process := v.largest()
		if !image || !slices.Contains(i.processes, process) || slices.Compare(has[:], i.from[:]) < 0 || (i.until != version{} && slices.Compare(has[:], i.until[:]) >= 0) {
			continue
		}
		found := i.Issue
		found.Match = fmt.Sprintf("The image is %s, its version %s, and the process %s had most of the memory.", name, tag, process)
		return &found
	}
	return nil
}

// largest is the name of the process with the most memory: the last victim, or else that of the samples.
func (v *view) largest() string {
	if n := len(v.own); n > 0 && v.own[n-1].Process.Comm != "" {
		return v.own[n-1].Process.Comm
	}
	comm, most := "", 0.0
	for _, p := range v.processes() {
		if p.most > most || p.most == most && p.Comm < comm {
			comm, most = p.Comm, p.most
		}
	}
	return comm
}

// splitImage cuts a reference such as host:5000/a/b:v1@sha256:… into a/b with its host, and v1.
func splitImage(image string) (name, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, ""
}

var versionTag = regexp.MustCompile(`^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(-(debug|slim))?$`)

// parseVersion reads a tag that is a version, and no other.
func parseVersion(tag string) (v version, ok bool) {
	m := versionTag.FindStringSubmatch(tag)
	if m == nil {
		return v, false
	}
	for i := range v {
		v[i], _ = strconv.Atoi(m[i+1]) // digits only
	}
	return v, true
}
