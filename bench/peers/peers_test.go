package peers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallUsesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	p := Peer{"present", "example.invalid/present", "v1.0.0"}
	if err := os.MkdirAll(filepath.Dir(p.Path(dir)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Path(dir), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := p.Install(context.Background(), dir)
	if err != nil || got != p.Path(dir) {
		t.Errorf("got %q, %v; want %q", got, err, p.Path(dir))
	}
}

func TestInstallNamesWhatCannotBeHad(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	_, err := Peer{"absent", "example.invalid/absent", "v1.0.0"}.Install(context.Background(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "install absent v1.0.0") || !strings.Contains(err.Error(), "example.invalid/absent") {
		t.Errorf("got %v; want an error that names the peer and its package", err)
	}
}
