package explain

import (
	"os"
	"path/filepath"
	"testing"

	"stella/internal/explain"
)

const (
	// testdata is where the recordings are that the tests replay.
	testdata = "testdata"
	// subset is how many there are of each cause.
	subset = 3
	// mostTestdata is what belongs into a repository, in bytes.
	mostTestdata = mib
)

// Of each cause some recordings are kept, and are found.
func TestReplay(t *testing.T) {
	t.Parallel()
	of := map[explain.Cause]int{}
	for _, r := range load(t, testdata) {
		of[r.Cause]++
		if partOf(r.Variant) != development {
			t.Errorf("%s is of the part that nothing is tuned by", r.name())
		}
		if found := explain.Explain(r.Input).Findings[0]; found.Cause != r.Cause {
			t.Errorf("%s is found to be %s (%.2f): %s", r.name(), found.Cause, found.Confidence, found.Summary)
		}
	}
	for _, cause := range causes() {
		if of[cause] != subset {
			t.Errorf("%d recordings of %s, want %d", of[cause], cause, subset)
		}
	}
}

// TestSubset chooses them anew of the recordings of -replay: the first of each cause that are found, for they are there to show what is lost. How
// many are not found the figures say.
func TestSubset(t *testing.T) {
	if !*update {
		t.Skip("-update with -replay DIRECTORY chooses the recordings in testdata")
	}
	of := map[explain.Cause]int{}
	for _, r := range load(t, *replay) {
		if partOf(r.Variant) != development || of[r.Cause] == subset || explain.Explain(r.Input).Findings[0].Cause != r.Cause {
			continue
		}
		of[r.Cause]++
		if err := r.save(testdata); err != nil {
			t.Error(err)
		}
	}
}

func TestTestdataIsSmall(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(testdata)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, e := range entries {
		i, err := os.Stat(filepath.Join(testdata, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		size += i.Size()
	}
	if size > mostTestdata {
		t.Errorf("%d bytes of recordings, at most %d", size, mostTestdata)
	}
}

// The same scene is written at each run, and another one for each variant and part.
func TestScenesAreSeeded(t *testing.T) {
	t.Parallel()
	first, again := scenes(), scenes()
	for i, s := range first {
		if s.name() != again[i].name() || s.length != again[i].length || s.limit != again[i].limit {
			t.Errorf("%s is %v long with a limit of %d, and then %s is %v with %d", s.name(), s.length, s.limit, again[i].name(), again[i].length, again[i].limit)
		}
	}
	lengths := map[string]bool{}
	for _, s := range first {
		lengths[s.length.String()] = true
	}
	if len(lengths) < len(first)*9/10 {
		t.Errorf("%d scenes of %d lengths", len(first), len(lengths))
	}
}
