// Package released builds programs of this module as they are released, for the tests of one package that run them.
//
// Without cgo they are also without the race detector, whose memory would be measured, and whose slowness would be waited for.
package released

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Programs are built when the first test asks for them. They may be asked for at the same time.
type Programs struct {
	dir   string
	build func() error
}

// New is for a variable of the test's package: programs of these import paths.
func New(packages ...string) *Programs {
	p := &Programs{}
	p.build = sync.OnceValue(func() error {
		cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", p.dir}, packages...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build: %w\n%s", err, out)
		}
		return nil
	})
	return p
}

// Run is for TestMain: it runs the tests, with a directory for the programs that others may look into, too, and removes it. It returns the exit code.
func (p *Programs) Run(m *testing.M) int {
	var err error
	if p.dir, err = os.MkdirTemp("", "released-*"); err == nil {
		err = os.Chmod(p.dir, 0o755) // tests run programs as other users
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(p.dir)
	return m.Run()
}

// Dir is where the programs are.
func (p *Programs) Dir(t testing.TB) string {
	t.Helper()
	if err := p.build(); err != nil {
		t.Fatal(err)
	}
	return p.dir
}

// Path is one of the programs, by its name.
func (p *Programs) Path(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(p.Dir(t), name)
}
