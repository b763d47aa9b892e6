package incidents

import (
	"fmt"
	"strings"
	"time"

	"stella/internal/bytesize"
	"stella/internal/incident"
	"stella/internal/oom"
)

// cut makes a text one that an event can have.
func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// victim is who was killed.
func victim(k *oom.Kill) string {
	if k.Process.PID == 0 {
		return "an unknown process"
	}
	return fmt.Sprintf("%s[%d]", cut(k.Process.Comm, 64), k.Process.PID)
}

// killText says a kill in a sentence.
func killText(k *oom.Kill) string {
	var b strings.Builder
	if k.Count > 1 {
		fmt.Fprintf(&b, "%d processes were killed, of which only a counter tells", k.Count)
	} else {
		fmt.Fprintf(&b, "%s was killed", victim(k))
	}
	if n := k.Process.Resident(); n > 0 {
		fmt.Fprintf(&b, " with %s resident", bytesize.Text(n))
	}
	if k.Limit.Bytes > 0 {
		fmt.Fprintf(&b, ", at the limit of %s", limitText(&k.Limit))
	}
	if k.MainSurvived != nil && *k.MainSurvived {
		b.WriteString("; the first process lived on, so no restart shows it")
	}
	if k.Doubt != "" {
		fmt.Fprintf(&b, " (%s)", strings.TrimSuffix(k.Doubt, "."))
	}
	return cut(b.String(), incident.MaxText)
}

// whose says whose limit it is.
var whose = map[oom.Scope]string{
	oom.ScopeContainer: "of its container", oom.ScopePod: "of its pod", oom.ScopeParent: "of a cgroup above", oom.ScopeCgroup: "of its cgroup",
	oom.ScopeNode: ", which is all that the node has", oom.ScopeCpuset: ", which is all of the NUMA nodes that it may use",
}

func limitText(l *oom.Limit) string {
	return strings.ReplaceAll(strings.TrimSpace(bytesize.Text(l.Bytes)+" "+whose[l.Scope]), " ,", ",")
}

// openedText says how an incident began.
func openedText(a *about, l *oom.Limit) string {
	text := a.subject.Name + " ran out of memory"
	if l.Bytes > 0 {
		text += ": the limit of " + limitText(l) + " fired"
	}
	return cut(text, incident.MaxText)
}

// togetherText says the kills of a minute in a sentence.
func togetherText(n int64, minute time.Time, first, last *oom.Kill) string {
	return cut(fmt.Sprintf("%d processes were killed within the minute from %s, the first %s, the last %s", n, minute.UTC().Format("15:04"), victim(first), victim(last)), incident.MaxText)
}
