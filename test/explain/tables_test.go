package explain

import (
	"strings"
	"testing"
	"time"

	"stella/internal/explain"
	"stella/internal/explain/readings"
	"stella/internal/oom"
)

// What two loops printed on a machine on which containers were killed (a guide to OOMKilled, in its part on growth), with a second between two lines: memory that
// grows little by little, and the statistics of a container that builds images, where it is more at once and stays so. In one line of these the name is cut.
const (
	littleByLittle = `while true
do
sleep 1
free -h
done

used  buff  cach  free
12.2G  688k 3378M  190M
12.4G  644k 3175M  183M
12.5G  560k 3012M  180M
12.6G  408k 2888M  233M
12.7G  284k 2813M  242M
12.9G  160k 2584M  216M
13.1G 28.0k 2352M  231M
13.2G 16.0k 2335M  207M
13.2G 16.0k 2303M  238M
13.2G 12.0k 2254M  257M
13.2G 8192B 2232M  287M
13.2G 8192B 2285M  228M
13.2G 4096B 2254M  271M
13.2G 4096B 2268M  253M
13.2G 4096B 2250M  269M
13.2G 4096B 2281M  243M
13.2G 4096B 2311M  211M
`
	allAtOnce = `CONTAINER           CPU %               MEM              DISK                INODES
b571874ae948f       0.13                13.56MB          0B                  0
b571874ae948f       0.06                13.63MB          0B                  0
b571874ae948f       0.13                13.91MB          53.25kB             16
571874ae948f       100.24               3.236GB          1.622GB             21833
b571874ae948f       69.57               3.569GB          2.048GB             21833
b571874ae948f       74.42               3.569GB          2.048GB             21833
b571874ae948f       0.04                3.569GB          2.048GB             21833
b571874ae948f       0.00                3.569GB          2.048GB             21833
b571874ae948f       0.02                3.569GB          2.048GB             21833
`
)

// table reads what a loop printed.
func table(t *testing.T, text, name string) explain.Input {
	t.Helper()
	read, err := readings.Read(t.Context(), strings.NewReader(text), readings.Options{Name: name, Every: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return explain.Input{Samples: read.Samples, Now: read.Samples[len(read.Samples)-1].Time.Add(time.Second)}
}

// killed adds the kill that such a table is looked at for: the guide has the line of the kernel, and none of its numbers.
func killed(in explain.Input, comm string) explain.Input {
	in.Kills = []oom.Kill{{
		ID: "1", Time: in.Now, Count: 1, Process: oom.Process{PID: 7, Comm: comm, UID: -1}, Limit: oom.Limit{Scope: oom.ScopeContainer},
		Witnesses: []oom.Witness{oom.WitnessLog}, Confidence: oom.Certain,
	}}
	return in
}

// A leak and a spike are told apart by what those loops printed, with the kill that came of it and without.
func TestTables(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, name, comm string
		want             explain.Cause
	}{
		{littleByLittle, "", "java", explain.Leak},
		{allAtOnce, "b571874ae948f", "executor", explain.Spike},
		{strings.ReplaceAll(allAtOnce, "\n571874ae948f", "\nb571874ae948f"), "", "executor", explain.Spike},
	} {
		in := table(t, tt.text, tt.name)
		for _, in := range []explain.Input{in, killed(in, tt.comm)} {
			found := explain.Explain(in).Findings[0]
			t.Logf("of %d readings and %d kills: %s (%.2f): %s", len(in.Samples), len(in.Kills), found.Cause, found.Confidence, found.Summary)
			if found.Cause != tt.want {
				t.Errorf("it is %s, and found to be %s", tt.want, found.Cause)
			}
		}
	}
	for _, image := range []string{"shop/builder:1", "kaniko-project/executor:v1.6.0"} {
		in := killed(table(t, allAtOnce, "b571874ae948f"), "executor")
		in.Container.Image = image
		if known := explain.Explain(in).Known; (known != nil) != (image != "shop/builder:1") {
			t.Errorf("of %s it is known: %+v", image, known)
		}
	}
}

// What differs little by little and comes back, as a machine at work does, is neither, however it is cut.
func TestTableOfNothing(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(littleByLittle[strings.Index(littleByLittle, "12.2G"):]), "\n")
	var text strings.Builder
	text.WriteString("used  buff  cach  free\n")
	for i := range 17 { // up and down
		text.WriteString(lines[min(i%8, 8-i%8)] + "\n")
	}
	if found := explain.Explain(table(t, text.String(), "")).Findings[0]; found.Cause == explain.Leak || found.Cause == explain.Spike {
		t.Errorf("it is found to be %s (%.2f)", found.Cause, found.Confidence)
	}
}
