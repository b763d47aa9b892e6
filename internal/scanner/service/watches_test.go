package service

import "testing"

// Followers read events from the database only when there may be new ones.
func TestWatches(t *testing.T) {
	var all watches
	one, stop := all.watch(7)
	if !one.events.Swap(false) {
		t.Error("what was there before is not read")
	}
	all.changed(8)
	if len(one.changed) != 0 {
		t.Error("woken for another job")
	}
	all.progressed(7)
	all.progressed(7) // it need not have looked
	if len(one.changed) != 1 || one.events.Load() {
		t.Error("progress wakes, and is no event")
	}
	<-one.changed
	all.changed(7)
	all.progressed(7)
	if len(one.changed) != 1 || !one.events.Load() {
		t.Error("progress must not hide an event")
	}
	stop()
	if len(all.jobs) != 0 {
		t.Error("who has left is remembered")
	}
}
