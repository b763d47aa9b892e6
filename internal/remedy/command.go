package remedy

import (
	"strings"
)

// quote writes a word for a POSIX shell.
func quote(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=,+@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// command writes words as a line for a shell.
func command(words ...string) string {
	for i := range words {
		words[i] = quote(words[i])
	}
	return strings.Join(words, " ")
}

// kubectl is a command in the namespace of a target.
func (t *Target) kubectl(words ...string) string {
	return command(append([]string{"kubectl", "--namespace", t.Namespace}, words...)...)
}

// resource is how kubectl calls the target: deployment/web.
func (t *Target) resource() string { return strings.ToLower(t.Kind) + "/" + t.Name }

// patch is the command that makes edits; it fails where a value is not as before.
func (t *Target) patch(edits []Edit) string {
	words := []string{"patch", t.resource()}
	if t.Below != "" {
		words = append(words, "--subresource", t.Below)
	}
	return t.kubectl(append(words, "--type", "json", "--patch", string(encode(operations(edits))))...)
}

// rollout is the command that waits until all pods follow the owner; empty where an owner has none of its own.
func (t *Target) rollout() string {
	if t.Kind == "Pod" || t.Kind == "CronJob" {
		return ""
	}
	return t.kubectl("rollout", "status", t.resource())
}
