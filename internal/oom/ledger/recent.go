package ledger

import "time"

// Count is how many kills there were in one cgroup, and when the newest was.
type Count struct {
	Kills int64
	Last  time.Time
}

// Counts are the kills of cgroups by path: of those with the newest ones, as [Ledger.Totals] has them. It reads no
// journal, so it can be asked each second; a kill is in it when all witnesses had their time, some seconds after it.
func (l *Ledger) Counts() map[string]Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]Count, len(l.totals.Cgroups))
	for _, c := range l.totals.Cgroups {
		if c.Cgroup != "" && c.Now > 0 {
			all[c.Cgroup] = Count{Kills: c.Now, Last: c.Last}
		}
	}
	return all
}
