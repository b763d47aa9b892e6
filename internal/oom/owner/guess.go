package owner

import "strings"

// Controllers name what they make: a Deployment's ReplicaSet NAME-HASH, its pods NAME-HASH-SUFFIX; a CronJob's Job
// NAME-MINUTES. Hash and suffix have these letters alone (k8s.io/apimachinery, util/rand), so that
// no word comes about.
const safeLetters = "bcdfghjklmnpqrstvwxz2456789"

const (
	suffixLetters = 5
	// A hash has up to ten letters (32 bits); one of fewer than six is rare, and more likely a word.
	minHash, maxHash = 6, 10
	// minuteDigits is the length of the minutes since 1970 until 2160.
	minuteDigits = 8
)

// guess is the workload that a pod's name tells of, "" where it does not: the pods of a DaemonSet, a bare ReplicaSet
// and a Job look alike.
func guess(pod string) string {
	rest, suffix, ok := cutLast(pod)
	if !ok {
		return ""
	}
	if digits(suffix) && len(suffix) <= 4 {
		return "StatefulSet/" + rest
	}
	if len(suffix) != suffixLetters || !safe(suffix) {
		return ""
	}
	name, hash, ok := cutLast(rest)
	switch {
	case !ok:
		return ""
	case len(hash) == minuteDigits && digits(hash) && hash[0] >= '2': // since 2008
		return "CronJob/" + name
	case len(hash) >= minHash && len(hash) <= maxHash && safe(hash):
		return "Deployment/" + name
	}
	return ""
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

func safe(s string) bool { return strings.Trim(s, safeLetters) == "" }

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
