package scanner

import "path/filepath"

// Socket is where stellad listens for commands of the same machine unless it is
// told otherwise: one place for root, and for other users one below their own
// runtime directory (XDG_RUNTIME_DIR); empty where there is none.
func Socket(uid int, runtimeDir string) string {
	switch {
	case uid == 0:
		return "/run/stella/stellad.sock"
	case runtimeDir == "":
		return ""
	}
	return filepath.Join(runtimeDir, "stella", "stellad.sock")
}
