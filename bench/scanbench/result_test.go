package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/bench/images"
	"stella/bench/machine"
)

func TestSummarizeTakesMediansAndKeepsEveryKill(t *testing.T) {
	r := Result{Runs: []Run{
		{CPU: 3, Wall: 1, RSS: 10, TempDisk: 7},
		{CPU: 1, Wall: 9, RSS: 30, TempDisk: 8, OOMKilled: true, CutShort: true, Failure: "killed"},
		{CPU: 2, Wall: 2, RSS: 20, TempDisk: 9},
	}}
	r.summarize()
	want := Run{CPU: 2, Wall: 2, RSS: 20, TempDisk: 8, OOMKilled: true, CutShort: true, Failure: "killed (1 of 3 runs)"}
	if d := cmp.Diff(want, r.Median); d != "" {
		t.Error(d)
	}
}

func report() Report {
	r := Report{
		Image:   "medium",
		Figures: images.Figures{Layers: 4, Compressed: 1 << 30, FileBytes: 5 << 29, Entries: 7},
		Machine: machine.Machine{CPUs: 2, CPU: "Example", Kernel: "6.18", Go: "go1.26", Load: 0.5},
		Results: []Result{
			{Tool: "floor", Limit: 12 << 30, Runs: []Run{{CPU: 2, Wall: 2, RSS: 9 << 20}}},
			{Tool: "stella", Limit: 32 << 20, Runs: []Run{{CPU: 2.5, Wall: 3, RSS: 20 << 20, CgroupPeak: 32 << 20, TempDisk: 4096}},
				Packages: &Packages{Components: 5, Distinct: 4, ByType: map[string]int{"npm": 3, "deb": 1}, WithoutURL: 1}},
			{Tool: "syft", Limit: 12 << 30, Runs: []Run{{CPU: 100, Wall: 50, RSS: 12 << 30, OOMKilled: true, CutShort: true, Failure: "OOM-killed at its limit of 12 GiB"}}},
			{Tool: "scalibr", Limit: 12 << 30, Unmeasured: "no proxy"},
		},
	}
	for i := range r.Results {
		r.Results[i].summarize()
	}
	r.compare()
	return r
}

func TestRenderMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := render(&b, "markdown", report()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| floor | 12 GiB | 2.0 | 1.00 | 2.0 | 1.00 | 9.0 MiB | 0 KiB | 0 KiB | no | – | – |\n",
		"| stella | 32 MiB | 2.5 | 1.25 | 3.0 | 1.50 | 20 MiB | 32 MiB | 4 KiB | no | 4 | deb 1, npm 3, without purl 1 |\n",
		"| syft | 12 GiB | > 100.0 | > 50.00 | > 50.0 | > 25.00 | 12 GiB | 0 KiB | 0 KiB | yes | – | – |\n",
		"| scalibr | 12 GiB | – | – | – | – | – | – | – | unmeasured | – | – |\n",
		"- syft: OOM-killed at its limit of 12 GiB\n",
		"- scalibr: unmeasured: no proxy\n",
		"load 0.5",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

func TestRenderTextHasARowForEveryTool(t *testing.T) {
	var b bytes.Buffer
	if err := render(&b, "text", report()); err != nil {
		t.Fatal(err)
	}
	for _, name := range toolNames {
		if name != "floor-2" && !strings.Contains(b.String(), "\n"+name+" ") {
			t.Errorf("no row for %s in\n%s", name, &b)
		}
	}
}

func TestRenderJSONIsTheReport(t *testing.T) {
	var b bytes.Buffer
	if err := render(&b, "json", report()); err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(report(), got); d != "" {
		t.Error(d)
	}
	if err := render(&b, "yaml", report()); err == nil {
		t.Error("an unknown format was accepted")
	}
}

func TestCompareNeedsASoundFloor(t *testing.T) {
	r := report()
	for i := range r.Results {
		r.Results[i].CPURatio, r.Results[i].WallRatio = 0, 0
	}
	r.Results[0].Median.Failure = "exit status 1"
	r.compare()
	for _, x := range r.Results {
		if x.CPURatio != 0 || x.WallRatio != 0 {
			t.Errorf("%s has ratios %v and %v to a floor that failed", x.Tool, x.CPURatio, x.WallRatio)
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 KiB", 512 << 10: "512 KiB", 3 << 19: "1.5 MiB", 32 << 20: "32 MiB", 3 << 29: "1.5 GiB", 12 << 30: "12 GiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
	for text, want := range map[string]int64{"32Mi": 32 << 20, "1Gi": 1 << 30, "4Ki": 4096, "77": 77} {
		var b bytesFlag
		if err := b.Set(text); err != nil || int64(b) != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "Mi", "-1", "0", "1.5Gi", "32MB", "9999999999Gi"} {
		var b bytesFlag
		if err := b.Set(text); err == nil {
			t.Errorf("Set(%q) = %d, want an error", text, b)
		}
	}
}

func TestAnErrorAtTheEndKeepsTheWholeDocument(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole.json")
	if err := os.WriteFile(whole, []byte(`{"components":[{"type":"library","purl":"pkg:npm/a@1"}]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "absent.json")
	for name, c := range map[string]struct {
		run      Run
		document string
		packages int // -1 for none
		failure  string
	}{
		"ended well":              {Run{}, whole, 1, ""},
		"ended well, no document": {Run{}, absent, -1, "no such file"},
		"ended with an error":     {Run{Failure: "exit status 1"}, whole, 1, "exit status 1"},
		"error and no document":   {Run{Failure: "exit status 1"}, absent, -1, "exit status 1"},
		"killed":                  {Run{Failure: "killed", CutShort: true}, whole, -1, "killed"},
	} {
		r := Result{Runs: []Run{c.run}}
		r.summarize()
		r.count(c.document)
		got := -1
		if r.Packages != nil {
			got = r.Packages.Distinct
		}
		if got != c.packages || !strings.Contains(r.Median.Failure, c.failure) || c.failure == "" && r.Median.Failure != "" {
			t.Errorf("%s: %d packages, failure %q", name, got, r.Median.Failure)
		}
	}
}
