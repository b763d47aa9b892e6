package loop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   []string // in the error; none is no error
	}{
		{func(*Options) {}, nil},
		{func(o *Options) { o.Period = time.Millisecond }, []string{"--period", "1s"}},
		{func(o *Options) { o.MaxIter = -1 }, []string{"--max-iter"}},
		{func(o *Options) { o.Soak = -1 }, []string{"--soak"}},
		{func(o *Options) { o.Delay = time.Minute }, []string{"--delay", "10m0s"}},
		{func(o *Options) { o.Delay = time.Hour }, nil},
		{func(o *Options) { o.Gated = o.Raw }, []string{"--raw-file and --gated-file"}},
		{func(o *Options) { o.Gated = "" }, []string{"--gated-file"}},
		{func(o *Options) { o.Windows = []string{"never"} }, []string{"--window", "never"}},
		{func(o *Options) { o.Windows = []string{"Mo-Fr 02:00-05:00"} }, nil},
		{func(o *Options) { o.Prometheus, o.Alertmanager = "http://a", "http://b" }, []string{"exclude each other"}},
		{func(o *Options) { o.IgnoreFile = "rules" }, []string{"--ignore-file", "--prometheus-url"}},
		{func(o *Options) { o.Admin = ":0" }, []string{"--admin"}},
		{func(o *Options) { o.Admin, o.AllowPlainHTTP = ":0", true }, []string{"--token-file"}},
		{func(o *Options) { o.Admin = "127.0.0.1:0" }, nil},
	} {
		o := Options{Node: "n", Raw: "/var/run/reboot-required", Gated: "/var/run/gated-reboot-required"}
		c.change(&o)
		err := o.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%+v: %v", o, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not name %q", err, w)
			}
		}
	}
}

// What is wrong with a check is found before anything is asked.
func TestBuild(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Workloads = []string{"calico"} }, "--workload"},
		{func(o *Options) { o.Kubeconfig = filepath.Join(t.TempDir(), "none") }, "kubeconfig"},
		{func(*Options) {}, "--kubeconfig"},
	} {
		t.Setenv("KUBERNETES_SERVICE_HOST", "")
		os.Unsetenv("KUBECONFIG")
		o := Options{Node: "n"}
		c.change(&o)
		if _, err := o.build(nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v does not name %s", err, c.want)
		}
	}
}
