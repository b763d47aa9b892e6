package scanner

import (
	"fmt"

	"stella/internal/bytesize"
)

// Blocks says, by a sentence, why an image in quarantine is not scanned, and "" where
// the reason is gone: there is a larger pool than those that it killed, or it
// would be scanned in another way.
func (p Plan) Blocks(q Quarantine, t Target) string {
	largest := p.Largest()
	if largest.Memory > q.Limit || p.Mode(t, true) != q.Mode {
		return ""
	}
	return fmt.Sprintf("it was killed for want of memory in the largest pool (%s, incident %s): raise worker.memory_limit or add a pool with more than that, or stream it with sbom.streaming_threshold, or try again with --retry",
		bytesize.Text(q.Limit), q.Incident)
}
