package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodToken = "0123456789abcdef0123456789abcdef"

// file makes a file with that text.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDefaults(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{StateDir: "state", Socket: "run/s"}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if o.Root != "/" || o.Node != host || o.StateDir != dir+"/state" || o.Socket != dir+"/run/s" || o.Admin != "" {
		t.Errorf("%+v", o)
	}
}

// What is wrong names its flag, and says what would be right.
func TestWhatIsWrongIsSaid(t *testing.T) {
	good, short := file(t, " "+goodToken+"\n"), file(t, "secret")
	for _, c := range []struct {
		change func(o *Options)
		want   []string // parts of the error; none for a value that is right
	}{
		{func(*Options) {}, nil},
		{func(o *Options) { o.StateDir = "" }, []string{"--state-dir is needed"}},
		{func(o *Options) { o.MaxBytes = 1 }, []string{"--max-bytes 1", "at least 1.0 MiB"}},
		{func(o *Options) { o.MaxBytes = 1 << 20 }, nil},
		{func(o *Options) { o.MaxAge = -time.Second }, []string{"--max-age -1s", "744h"}},
		{func(o *Options) { o.Inspect = file(t, "/a metrics http://127.0.0.1:80\n") }, nil},
		{func(o *Options) { o.Inspect = file(t, "/a metrics http://10.0.0.1:80\n") }, []string{"--inspect", ":1: ", "loopback"}},
		{func(o *Options) { o.Inspect = "/not/there" }, []string{"--inspect", "no such file"}},
		{func(o *Options) { o.InspectEvery = time.Millisecond }, []string{"--inspect-every 1ms", "a second or more"}},
		{func(o *Options) { o.NoKubernetes, o.Kubeconfig = true, "k" }, []string{"--kubeconfig", "--no-kubernetes"}},
		{func(o *Options) { o.Admin = "9322" }, []string{"--admin", "HOST:PORT"}},
		{func(o *Options) { o.Admin = "127.0.0.1:0"; o.TLSCert = "c" }, []string{"--admin", "belong together"}},
		{func(o *Options) { o.Admin = "127.0.0.1:0" }, nil},
		{func(o *Options) { o.Admin = "0.0.0.0:0" }, []string{"--admin", "other machines", "certificate"}},
		{func(o *Options) { o.Admin = ":0"; o.TokenFile = good }, []string{"--admin", "other machines", "certificate"}},
		{func(o *Options) { o.Admin = ":0"; o.AllowPlainHTTP = true }, []string{"--admin :0", "--token-file", "32 characters"}},
		{func(o *Options) { o.Admin = ":0"; o.TLSCert, o.TLSKey = "c", "k" }, []string{"--token-file"}},
		{func(o *Options) { o.Admin = ":0"; o.TLSCert, o.TLSKey, o.TokenFile = "c", "k", good }, nil},
		{func(o *Options) { o.Admin = ":0"; o.AllowPlainHTTP, o.TokenFile = true, good }, nil},
		{func(o *Options) { o.Admin = "127.0.0.1:0"; o.TokenFile = "/not/there" }, []string{"--token-file", "no such file"}},
		{func(o *Options) { o.Admin = "127.0.0.1:0"; o.TokenFile = filepath.Dir(good) }, []string{"--token-file", "is a directory"}},
		{func(o *Options) { o.Admin = "127.0.0.1:0"; o.TokenFile = short }, []string{"--token-file", "6 characters", "openssl rand"}},
	} {
		o := Options{StateDir: "/state", Node: "n1"}
		c.change(&o)
		err := o.Validate()
		if len(c.want) == 0 && err != nil {
			t.Errorf("%+v: %v", o, err)
		}
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", o, err, want)
			}
		}
		if err != nil && (strings.Contains(err.Error(), goodToken) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("the token is in the error: %v", err)
		}
	}
}

// Run says what is wrong before it opens anything.
func TestRunValidates(t *testing.T) {
	dir := t.TempDir()
	if err := Run(t.Context(), Options{StateDir: dir + "/state", MaxAge: -1}, func() { t.Error("it is ready") }); err == nil || !strings.Contains(err.Error(), "--max-age") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it made %v", left)
	}
}
