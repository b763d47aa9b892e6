package cgroup

// V2Mounts are the places where cgroup v2 is mounted, with or without the memory controller.
func V2Mounts() ([]string, error) {
	mounts, err := parseFile("/proc/self/mountinfo", parseMounts)
	var points []string
	for _, h := range mounts {
		if h.version == 2 {
			points = append(points, h.point)
		}
	}
	return points, err
}

// V2At is the group of a directory of cgroup v2, without a limit.
func V2At(dir string) *Group { return &Group{dir: dir, version: 2} }
