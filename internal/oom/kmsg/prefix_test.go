package kmsg_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"stella/internal/oom"
	"stella/internal/oom/kmsg"
)

// The forms that dmesg, syslog and the journal give to one line. The corpus has whole logs in most of them.
func TestForms(t *testing.T) {
	const text = "Out of memory: Killed process 7 (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB"
	wall := time.Date(2022, 3, 15, 0, 22, 41, 0, time.UTC) // 09:22:41 in Seoul
	since := 12345*time.Second + 678*time.Microsecond
	for name, c := range map[string]struct {
		form string
		time time.Time
		boot time.Duration
		node string
	}{
		"bare":                                {"%s", time.Time{}, 0, ""},
		"dmesg":                               {"[12345.000678] %s", time.Time{}, since, ""},
		"dmesg, thread":                       {"[12345.000678][  T123] %s", time.Time{}, since, ""},
		"dmesg, processor":                    {"[12345.000678][    C3] %s", time.Time{}, since, ""},
		"dmesg --raw":                         {"<3>[12345.000678] %s", time.Time{}, since, ""},
		"dmesg --decode":                      {"kern  :err   : [12345.000678] %s", time.Time{}, since, ""},
		"dmesg --show-delta":                  {"[12345.000678 <    0.000012>] %s", time.Time{}, since, ""},
		"dmesg --ctime --show-delta":          {"[Tue Mar 15 09:22:41 2022 <    0.000012>] %s", wall, 0, ""},
		"dmesg --ctime":                       {"[Tue Mar 15 09:22:41 2022] %s", wall, 0, ""},
		"dmesg --ctime, French":               {"[mar. mars  15 09:22:41 2022] %s", wall, 0, ""},
		"dmesg --ctime, Russian":              {"[Вт мар 15 09:22:41 2022] %s", wall, 0, ""},
		"dmesg --ctime, Japanese":             {"[火  3月 15 09:22:41 2022] %s", wall, 0, ""},
		"dmesg --ctime, a language not known": {"[xx yyy 15 09:22:41 2022] %s", time.Time{}, 0, ""},
		"dmesg --human":                       {"[Mar15 09:22] x\n[ +41.000000] %s", wall, 0, ""},
		"dmesg --time-format=iso":             {"2022-03-15T09:22:41,000000+09:00 %s", wall, 0, ""},
		"dmesg --json":                        {"\"time\": 12345.000678,\n\"msg\": \"%s\"", time.Time{}, since, ""},
		"dmesg --color":                       {"\x1b[32m[12345.000678] \x1b[0m\x1b[33mOut of memory: \x1b[0m\x1b[31mKilled process 7 (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB\x1b[0m", time.Time{}, since, ""},
		"/dev/kmsg":                           {"3,5,12345000678,-;%s\n SUBSYSTEM=x", time.Time{}, since, ""},
		"syslog":                              {"Mar 15 09:22:41 n kernel: %s", wall, 0, "n"},
		"syslog, time of the kernel":          {"Mar 15 09:22:41 n kernel: [12345.000678] %s", wall, since, "n"},
		"syslog, thread":                      {"Mar 15 09:22:41 n kernel: [12345.000678][ T77] %s", wall, since, "n"},
		"syslog, priority":                    {"<3>Mar 15 09:22:41 n kernel: %s", wall, 0, "n"},
		"syslog, year":                        {"Mar 15 2022 09:22:41 n kernel: %s", wall, 0, "n"},
		"syslog, RFC 3339":                    {"2022-03-15T00:22:41.000000Z n kernel: [12345.000678] %s", wall, since, "n"},
		"syslog, RFC 5424":                    {"<3>1 2022-03-15T09:22:41+09:00 n kernel - - - [12345.000678] %s", wall, since, "n"},
		"syslog, RFC 5424 with data":          {`<3>1 2022-03-15T09:22:41+09:00 n kernel - - [x@1 a="b c"] %s`, wall, 0, "n"},
		"busybox":                             {"Mar 15 09:22:41 n kern.err kernel: [12345.000678] %s", wall, since, "n"},
		"OpenWrt":                             {"Tue Mar 15 09:22:41 2022 kern.err kernel: [12345.000678] %s", wall, since, ""},
		"journalctl short-full":               {"Tue 2022-03-15 09:22:41 KST n kernel: %s", wall, 0, "n"},
		"journalctl short-iso":                {"2022-03-15T09:22:41+0900 n kernel: %s", wall, 0, "n"},
		"journalctl short-monotonic":          {"[12345.000678] n kernel: %s", time.Time{}, since, "n"},
		"journalctl short-unix":               {"1647303761.000000 n kernel: %s", wall, 0, "n"},
		"Talos":                               {"10.5.0.2: kern:     err: [2022-03-15T00:22:41.0Z]: %s", wall, 0, "10.5.0.2"},
		"a serial console":                    {"\x00\x00\r<3>[12345.000678] %s\r\n", time.Time{}, since, ""},
		"pasted in a document":                {"    > x\n    [12345.000678] %s", time.Time{}, since, ""},
	} {
		line := c.form
		if strings.Contains(line, "%s") {
			line = fmt.Sprintf(c.form, text)
		}
		got, _, err := files(t, strings.NewReader(line), kmsg.FileOptions{Year: 2022, Location: time.FixedZone("", 9*3600)})
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %d kills", name, err, len(got))
			continue
		}
		r := got[0]
		if !r.Time.Equal(c.time) || r.Monotonic != c.boot || r.Node != c.node || r.Process.PID != 7 || r.Limit.Scope != oom.ScopeNode {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// What programs say is no kill, in whatever form, whatever they say.
func TestProgramsKillNobody(t *testing.T) {
	const text = "Out of memory: Killed process 7 (p) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB"
	for _, form := range []string{
		"Mar 15 09:22:41 n app[12]: %s", "Mar 15 09:22:41 n app: kernel: %s", "Mar 15 09:22:41 n app: [123.000000] %s", "2022-03-15T00:22:41Z n app[1]: %s",
		"2022-03-15T00:22:41Z stdout F %s", "2022-03-15T00:22:41.1Z stderr P [123.000000] %s", "2022-03-15T00:22:41Z %s", "<3>1 2022-03-15T09:22:41+09:00 n app - - - %s",
		"10.5.0.2: user: warning: [2022-03-15T00:22:41Z]: %s", "14,5,123,-;%s", "[123.000000] n systemd[1]: %s", "1647303761.000000 n app: %s",
		"[123.000000] systemd[1]: %s", "[123.000000] app: %s", "app: %s", `time=x msg="%s"`, `{"_TRANSPORT":"stdout","SYSLOG_IDENTIFIER":"kernel","MESSAGE":"%s"}`,
		`{"msg":"%s"}`, "Mar 15 09:22:41 n app: first line\n    %s",
	} {
		if got, _, err := files(t, strings.NewReader(fmt.Sprintf(form, text)), kmsg.FileOptions{}); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %+v", form, err, got)
		}
	}
}
