// Package owner says whose cgroup it is.
//
// Words: a [Place] is what the path of a cgroup tells by itself, also on another
// machine and years later: [Parse]. What it cannot tell (names, the workload, the
// image), a [Resolver] finds on the node: in the runtime's files, in the names of the
// kubelet's logs, in the API. [Scope] says whose limit fired.
//
// Hazards:
//
//   - What runs inside of a container belongs to it, also the containers of another
//     runtime in there: the outermost pod counts, and the outermost container in it. A
//     container above a pod is a node.
//   - The cgroup that holds a pod together (its sandbox, or pause container) looks like a container of it. A
//     runtime's files tell; its name then is [Sandbox].
//   - Cgroups can be named by whoever may make them, so a path proves nothing about
//     who made it: it is a name, no authority.
package owner
