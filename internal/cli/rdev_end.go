package cli

import (
	"fmt"

	"stella/internal/rdev"
)

// endCode is what this program ends with after a command that ended so.
func endCode(end *rdev.End) ExitCode {
	switch end.Reason {
	case rdev.ReasonTimeout:
		return ExitTimeout
	case rdev.ReasonExit, rdev.ReasonSignal, rdev.ReasonOOM:
		if end.ExitCode >= 0 && end.ExitCode <= 255 {
			return ExitCode(end.ExitCode)
		}
	}
	return ExitNotRun
}

// endText is how a command ended, for people.
func endText(end *rdev.End) string {
	if end.Detail == "" {
		return fmt.Sprintf("the command ended: %s, exit code %d", end.Reason, end.ExitCode)
	}
	return "the command: " + end.Detail
}

// endNext is what to do about it; empty is nothing.
func endNext(end *rdev.End) string {
	switch end.Reason {
	case rdev.ReasonTimeout:
		return "--timeout gives it more"
	case rdev.ReasonOOM:
		return "--memory gives it more"
	}
	return ""
}

// resultText is how a command ended in a word or two; empty where it has not.
func resultText(c *rdev.Command) string {
	switch {
	case c.End == nil:
		return ""
	case c.End.Reason != rdev.ReasonExit:
		return string(c.End.Reason)
	case c.End.OOM != nil:
		return fmt.Sprintf("exit %d (oom)", c.End.ExitCode)
	}
	return fmt.Sprintf("exit %d", c.End.ExitCode)
}
