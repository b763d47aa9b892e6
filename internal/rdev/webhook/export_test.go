package webhook

// OnlyChecks makes a sender that can check URLs and no more.
func OnlyChecks(o Options) *Sender { return &Sender{o: o} }
