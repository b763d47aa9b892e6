package notice

// Words are for a search in large logs: every line that [Line] reads has one of them, and few others have.
var Words = []string{
	"TaskOOM event ", "/tasks/oom {", " container oom ", `"Action":"oom"`, " <ninfo>: OOM received", "System OOM encountered",
	": A process of this unit has been killed by the OOM killer", ": The kernel OOM killer killed some processes in this unit",
	" due to memory ",
}
