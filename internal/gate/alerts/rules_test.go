package alerts

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 5, 31, 14, 40, 0, 0, time.UTC)

const good = `
ignore:
  - matchers: ['alertname="PVCStuckPending"', 'namespace=~"hermes.*"']
    until: 2026-06-30T00:00:00Z
    reason: hermes is parked
    by: ann
  - matchers:
      - alertname=NodeFilesystemFull
      - mountpoint="/mnt/synology-backup"
    until: "2026-05-31T14:40:00+02:00"
    reason: the offsite copy is pruned on Monday
    by: bob
`

func TestParseRules(t *testing.T) {
	rules, err := parseRules([]byte(good), now)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) != 2 || rules[0].lapsed(now) || !rules[1].lapsed(now) {
		t.Fatalf("%+v", rules)
	}
	if got, want := rules[0].String(), "rule 1 until 2026-06-30T00:00:00Z (hermes is parked, by ann)"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	hermes := map[string]string{"alertname": "PVCStuckPending", "namespace": "hermes-agent"}
	for i, want := range []bool{true, false} {
		if got := rules[i].ignores(hermes, now); got != want {
			t.Errorf("rule %d: %t", i+1, got)
		}
	}
	if until := rules[0].until; rules[0].ignores(hermes, until) || !rules[0].ignores(hermes, until.Add(-1)) {
		t.Error("the rule does not end when it says")
	}
	if rules, err := parseRules([]byte("ignore: []"), now); err != nil || len(rules) != 0 {
		t.Errorf("no rules: %v, %v", rules, err)
	}
}

// One thing that is wrong is said with its line, and nothing is ignored.
func TestBrokenRules(t *testing.T) {
	many := "ignore:\n" + strings.Repeat("- {matchers: [a=b], until: 2026-06-30T00:00:00Z, reason: r, by: b}\n", maxRules+1)
	steps := "ignore:\n" + strings.Repeat("- {matchers: ['a=~\"(x[abc]y){90}\"'], until: 2026-06-30T00:00:00Z, reason: r, by: b}\n", maxRules)
	with := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("there is no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, test := range map[string]struct{ text, says string }{
		"empty":              {"", "ignore: []"},
		"no list":            {"ignore:\n", "ignore: []"},
		"another field":      {with("until:", "til:"), "line 4: field til not found"},
		"another list":       {with("ignore:", "ignored:"), "line 2: field ignored not found"},
		"a field twice":      {with("by: ann", "reason: again\n    by: ann"), "line 6"},
		"no YAML":            {with("['", "['['"), "line 2"},
		"two documents":      {good + "---\nignore: []\n", "more than one document"},
		"a list for text":    {with("by: ann", "by: [ann]"), "line 6: this is to be text"},
		"a number for text":  {with("by: ann", "by: 7"), "line 6: this is to be text"},
		"no matchers":        {with(`['alertname="PVCStuckPending"', 'namespace=~"hermes.*"']`, "[]"), "rule 1, which ends on line 6: it has 0 matchers"},
		"matcher is text":    {with(`['alertname="PVCStuckPending"', 'namespace=~"hermes.*"']`, "all"), "line 3"},
		"nothing pinned":     {with(`['alertname="PVCStuckPending"', 'namespace=~"hermes.*"']`, `['alertname=~".+"', 'namespace!="kube-system"']`), "line 3: its matchers match nearly all alerts"},
		"a broken matcher":   {with("alertname=NodeFilesystemFull", "alertname"), `line 8: matcher "alertname"`},
		"a broken regexp":    {with("hermes.*", "hermes(*"), "line 3: matcher"},
		"a huge regexp":      {with("hermes.*", strings.Repeat("x", maxRegexp+1)), "513 bytes"},
		"a growing regexp":   {with("hermes.*", "(h{30}){30}"), "steps, and may take"},
		"all too much":       {steps, "all rules so far"},
		"no until":           {with("    until: 2026-06-30T00:00:00Z\n", ""), "rule 1, which ends on line 5: it has no until"},
		"until a day":        {with("2026-06-30T00:00:00Z", "2026-06-30"), "until is no time"},
		"until a year later": {with("2026-06-30T00:00:00Z", "2027-06-30T00:00:00Z"), "more than 90 days"},
		"no reason":          {with("hermes is parked", `" "`), "no reason"},
		"no by":              {with("    by: ann\n", ""), "rule 1, which ends on line 5: it has no by"},
		"a novel":            {with("hermes is parked", strings.Repeat("x", maxText+1)), "256 bytes"},
		"many":               {many, "201 rules"},
		"an empty rule":      {"ignore: [{}]", "rule 1: it has 0 matchers"},
		"an alias bomb":      {"a: &a [x,x]\nb: &b [*a,*a]\nignore: [*b]\n", "line"},
	} {
		rules, err := parseRules([]byte(test.text), now)
		if err == nil || rules != nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v; want %q", name, err, test.says)
		}
	}
}

// A ConfigMap changes by a symbolic link to another directory; what is read is always what is there.
func TestRuleFileChanges(t *testing.T) {
	dir := t.TempDir()
	f := ruleFile{name: filepath.Join(dir, "rules.yaml")}
	put := func(version, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "rules.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(version, filepath.Join(dir, "new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.read(now); err == nil {
		t.Error("there is no file, and no error")
	}
	if err := os.Symlink("data/rules.yaml", f.name); err != nil {
		t.Fatal(err)
	}
	put("1", good)
	first, err := f.read(now)
	if err != nil || len(first) != 2 {
		t.Fatalf("%v, %v", first, err)
	}
	if again, err := f.read(now); err != nil || again[0] != first[0] {
		t.Errorf("the same file was parsed again: %v", err)
	}
	put("2", "ignore: []")
	if rules, err := f.read(now); err != nil || len(rules) != 0 {
		t.Errorf("after the change: %v, %v", rules, err)
	}
	put("3", "ignore: [")
	for range 2 {
		if rules, err := f.read(now); err == nil || rules != nil || !strings.Contains(err.Error(), f.name) {
			t.Errorf("broken: %v, %v", rules, err)
		}
	}
	put("4", good)
	if rules, err := f.read(now); err != nil || len(rules) != 2 {
		t.Errorf("mended: %v, %v", rules, err)
	}
	put("5", good+strings.Repeat("#", maxRuleFile))
	if _, err := f.read(now); err == nil {
		t.Error("a file too large was read")
	}
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	if rules, err := f.read(now); err == nil || rules != nil {
		t.Errorf("gone: %v, %v", rules, err)
	}
}

func TestMatchers(t *testing.T) {
	labels := map[string]string{"alertname": "NodeDown", "node": "worker-3", "path": `C:\x "y"`, "weird.name": "1", "lines": "a\nb"}
	for text, want := range map[string]bool{
		`alertname="NodeDown"`: true, `alertname=NodeDown`: true, ` alertname = "NodeDown" `: true, `alertname="Node"`: false,
		`alertname!="NodeDown"`: false, `alertname!="Node"`: true,
		`node=~"worker-[0-9]"`: true, `node=~"worker"`: false, `node=~"orker-3"`: false, `node=~worker.3`: true, `node!~"worker-[0-9]"`: false, `node!~"worker"`: true,
		`node=~"a|worker-3"`: true, `node=~"worker-3|a"`: true, `node=~"a|b"`: false,
		`missing=""`: true, `missing="x"`: false, `missing!="x"`: true, `missing=~".*"`: true, `missing=~".+"`: false,
		`path="C:\\x \"y\""`: true, `path="C:\x \"y\""`: true, `node=~"worker\-3"`: true, `node=~"worker\\-3"`: true,
		`"weird.name"="1"`: true, `"weird.name"=~"2"`: false, `lines="a\nb"`: true, `lines=~"a.b"`: false, `lines=~"a"`: false,
	} {
		m, err := parseMatcher(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := m.matches(labels); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
	for _, text := range []string{
		"", "a", `"a"`, `a"b"`, `a=="b"`, `a="b`, `a="b"c"`, `a="b" and`, `a=b"`, `a={}`, `a=b,c="d"`, `1a="b"`, `a-b="c"`, `="b"`, `""="b"`, `"a\"="b"`,
		`a=~"("`, `a=~"x)(y"`, `a=~"(?=x)"`, `a=~"(x)\1"`, `a=~"\Qx"`, `a=~"x{1001}"`, "a=\"\xff\"", `a>"b"`,
	} {
		if m, err := parseMatcher(text); err == nil {
			t.Errorf("%s was taken for %+v", text, m)
		}
	}
	for text, want := range map[string]bool{
		`a="b"`: true, `a=""`: false, `a!="b"`: false, `a!~"b"`: false,
		`a=~"b"`: true, `a=~".*"`: false, `a=~".+"`: false, `a=~""`: false, `a=~"(.|b)*"`: false, `a=~"b|.*"`: false, `a=~"b?"`: false, `a=~"b{0,3}"`: false, `a=~"[^b]+"`: false,
		`a=~"\\w+"`: false, `a=~"[a-z]+"`: false, `a=~"b|"`: false, `a=~"(?i)b"`: true, `a=~".*b.*"`: true, `a=~"b|c"`: true, `a=~"web-(1|2).*"`: true, `a=~"(b){2}"`: true, `a=~"(bb)+"`: true,
	} {
		m, err := parseMatcher(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if m.pins != want {
			t.Errorf("%s pins: %t", text, m.pins)
		}
	}
}

// FuzzMatcher holds a matcher against another way to say the same: by comparison, or the longest match that there is.
func FuzzMatcher(f *testing.F) {
	f.Add("alertname", uint8(0), "NodeDown", "NodeDown")
	f.Add("node", uint8(2), "worker-[0-9]+|a", "worker-12")
	f.Add("node", uint8(3), `a(b*)\.`, "abb.")
	f.Add("path", uint8(1), `C:\"x"`+"\n", `C:\"x"`)
	f.Fuzz(func(t *testing.T, name string, op uint8, value, is string) {
		sign := []string{"=", "!=", "=~", "!~"}[op%4]
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
		m, err := parseMatcher(fmt.Sprintf("%q%s\"%s\"", name, sign, quoted))
		if err != nil {
			return
		}
		want := value == is
		if op%4 >= 2 {
			whole := regexp.MustCompile(value)
			whole.Longest()
			found := whole.FindStringIndex(is)
			want = found != nil && found[0] == 0 && found[1] == len(is)
		}
		if op%2 == 1 {
			want = !want
		}
		if got := m.matches(map[string]string{name: is}); got != want {
			t.Errorf("%q %s %q of %q: %t", name, sign, value, is, got)
		}
		if m.pins && m.matches(map[string]string{}) {
			t.Errorf("%q %s %q is said to ask for something, and matches nothing at all", name, sign, value)
		}
	})
}
