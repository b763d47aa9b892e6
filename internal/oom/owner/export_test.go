package owner

// For tests of bounds.
const (
	MaxKnown = maxKnown
	MaxPods  = maxPods
)

func (r *Resolver) Known() (n, size, waiting int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.known), r.size, len(r.pending)
}

func (r *Resolver) Pods() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pods.byUID)
}
