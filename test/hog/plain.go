//go:build linux

package main

var plainModes = []mode{
	{"pause", "do nothing until told to end", "As PID 1 of a container it also collects orphans that have ended, with a line for each.",
		func(*parameters) runner {
			return func(h *hog) error {
				h.say("pauses")
				return h.wait(forever)
			}
		}},
	{"exit", "exit with CODE, 0 to 255, at once", "",
		func(p *parameters) runner {
			code := p.code()
			return func(*hog) error { return exitCode(code.value) }
		}},
}

// code adds an exit code as an argument.
func (p *parameters) code() *number {
	n := number{least: 0, most: 255}
	p.argument("CODE", &n)
	return &n
}
