package ledger
import ("testing";"time";"fmt")
func TestDbg(t *testing.T) {
	for _, v := range []int{1,2} {
	w := newWorld(3, v)
	for range 20 { w.pod() }
	run := &sim{t: t, s: story{version:v,kills: 6000, pause: 30e6}, w: w, dir: t.TempDir()}
	start := time.Now()
	run.run()
	fmt.Println(len(w.kills), time.Since(start), run.a.l.Status())
	run.judge()
	}
}
