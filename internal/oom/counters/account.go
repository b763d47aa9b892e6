package counters

// account is what a cgroup counted. Hierarchical counters are those of v2; on v1 all
// is own.
type account struct {
	all, own int64 // as read last: with those below, and of this cgroup alone
	// loose are the kills in all that neither own nor a known cgroup below accounts
	// for. It can be negative for a moment: what is above is read first, so that no kill
	// that happens between two reads looks as if nobody had counted it.
	loose int64
	// suspect is how many of them the round before found too.
	suspect int64
}

// since is by how much a counter rose. One that fell began anew: the controller was taken
// from the cgroup and given back.
func since(now, before int64) int64 {
	if now < before {
		return now
	}
	return now - before
}

// advance takes new values, of which all was read before own. It returns by how much
// they rose. For the one above, the first is not loose.
func (a *account) advance(all, own int64) (rise, ownRise int64) {
	rise, ownRise = since(all, a.all), since(own, a.own)
	a.all, a.own = all, own
	a.loose += rise - ownRise
	return rise, ownRise
}

// overtold returns how many of the kills of a cgroup that is made known only now were told of this
// one above it already, as nobody's. Free are its loose kills that are surely nobody's.
func (a *account) overtold(kills, free int64) int64 {
	n := max(min(kills, -free), 0)
	a.loose += n
	return n
}

// begin sets the values of first sight: base is what all was when it was told last. What
// own was then is not kept. It cannot have been more than either; where the cgroup has had
// kills both of its own and below, the doubt is only which of them are new.
func (a *account) begin(base, own int64) {
	a.all, a.own = base, min(base, own)
}

// settle returns the free kills that have been so for a whole round.
func (a *account) settle(free int64) int64 {
	n := max(min(free, a.suspect), 0)
	a.loose -= n
	a.suspect = max(free-n, 0)
	return n
}
