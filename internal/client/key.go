package client

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxKey is the most bytes of a file with a key: far more than one has; a larger file is none.
const maxKey = 4 << 10

// ReadKey reads a file that holds an API key and belongs to its reader alone.
func ReadKey(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no regular file", name)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s can be used by others (mode %04o); take that away with: chmod 600 %s", name, info.Mode().Perm(), name)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKey+1))
	key := strings.TrimSpace(string(text))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxKey || key == "" || strings.ContainsAny(key, " \t\r\n"):
		return "", fmt.Errorf("%s holds no API key: that is one word", name)
	}
	return key, nil
}
