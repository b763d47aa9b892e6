package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pair makes a certificate that signs itself, and its key.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// header is what a configuration sends.
func header(t *testing.T, c Config, fresh bool) string {
	t.Helper()
	h, err := c.who.header(t.Context(), fresh)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	cert, key := pair(t)
	write(t, filepath.Join(dir, "ca.pem"), cert)
	write(t, filepath.Join(dir, "token"), "from-file\n")
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	write(t, first, `
apiVersion: v1
kind: Config
preferences: {}
contexts:
- {name: prod, context: {cluster: prod, user: file, namespace: shop}}
- {name: both, context: {cluster: prod, user: both}}
- {name: basic, context: {cluster: plain, user: basic}}
- {name: nobody, context: {cluster: plain}}
- {name: alien, context: {cluster: plain, user: elsewhere}}
clusters:
- {name: prod, cluster: {server: "https://api:6443/k8s/", certificate-authority: ca.pem, tls-server-name: kubernetes, proxy-url: "socks5://p:1080"}}
- {name: plain, cluster: {server: "http://[::1]:8080", insecure-skip-tls-verify: true}}
users:
- {name: file, user: {tokenFile: token, token: not-this}}
- {name: basic, user: {username: u, password: p, as: boss, as-uid: "7", as-groups: [a, b]}}
- {name: both, user: {token: t, client-certificate-data: `+base64.StdEncoding.EncodeToString([]byte(cert))+`, client-key-data: `+base64.StdEncoding.EncodeToString([]byte(key))+`}}
`)
	write(t, second, `
current-context: prod
contexts: [{name: prod, context: {cluster: other}}]
users: [{name: elsewhere, user: {token: "second"}}]
`)
	third := filepath.Join(dir, "third")
	write(t, third, "current-context: nobody")
	files := strings.Join([]string{filepath.Join(dir, "missing"), first, second, third}, string(os.PathListSeparator))
	load := func(context string) Config {
		t.Helper()
		c, err := Kubeconfig(files, context)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := load("") // the current context is the second file's, what it means is the first's
	if c.Server.String() != "https://api:6443/k8s" || c.Namespace != "shop" || c.tls.ServerName != "kubernetes" || c.tls.RootCAs == nil || c.proxy.String() != "socks5://p:1080" {
		t.Errorf("%+v %+v", c, c.tls)
	}
	if h := header(t, c, false); h != "Bearer from-file" {
		t.Error(h)
	}
	c = load("basic")
	if h := header(t, c, false); h != "Basic dTpw" || c.as.user != "boss" || c.as.uid != "7" || len(c.as.groups) != 2 || !c.tls.InsecureSkipVerify || c.Namespace != "default" || c.tls.RootCAs != nil {
		t.Errorf("%s %+v", h, c)
	}
	c = load("both")
	if shown, err := c.who.certificate(t.Context()); err != nil || shown == nil || header(t, c, false) != "Bearer t" {
		t.Error(shown, err)
	}
	if h := header(t, load("nobody"), false); h != "" {
		t.Error(h)
	}
	if h := header(t, load("alien"), false); h != "Bearer second" {
		t.Error(h)
	}
	t.Setenv("KUBECONFIG", files)
	if c, err := Kubeconfig("", ""); err != nil || c.Namespace != "shop" {
		t.Error(c, err)
	}
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", dir)
	if _, err := Kubeconfig("", ""); !errors.Is(err, ErrNoKubeconfig) {
		t.Error(err)
	}
	write(t, filepath.Join(dir, ".kube/config"), "current-context: nobody\ncontexts: [{name: nobody, context: {cluster: a}}]\nclusters: [{name: a, cluster: {server: 'https://home'}}]")
	if c, err := Kubeconfig("", ""); err != nil || c.Server.Host != "home" {
		t.Error(c, err)
	}
}

func TestKubeconfigErrors(t *testing.T) {
	// in is a kubeconfig with one cluster and one user.
	in := func(cluster, user string) string {
		return fmt.Sprintf("current-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nclusters: [{name: c, cluster: {%s}}]\nusers: [{name: u, user: {%s}}]\n", cluster, user)
	}
	const good = "server: 'https://a'"
	for name, c := range map[string]struct{ text, want string }{
		"no YAML":               {"{", "did not find"},
		"no context":            {"clusters: []", "no current context"},
		"a context too much":    {"current-context: x", `no context "x"`},
		"no cluster":            {"current-context: c\ncontexts: [{name: c, context: {cluster: x}}]", `no cluster "x"`},
		"no user":               {"current-context: c\ncontexts: [{name: c, context: {cluster: a, user: x}}]\nclusters: [{name: a, cluster: {server: 'https://a'}}]", `no user "x"`},
		"no server":             {in("", ""), "no address of a server"},
		"another scheme":        {in("server: 'ftp://a'", ""), "no address of a server"},
		"a password":            {in("server: 'https://u:secret@a'", ""), "u:xxxxx@a"},
		"no base64":             {in(good+", certificate-authority-data: '!'", ""), "certificate-authority-data: illegal base64"},
		"no PEM":                {in(good+", certificate-authority-data: eA==", ""), "no PEM"},
		"no file":               {in(good+", certificate-authority: missing", ""), "no such file"},
		"a proxy":               {in(good+", proxy-url: '::'", ""), "proxy-url"},
		"a certificate alone":   {in(good, "client-certificate: a"), "need each other"},
		"auth-provider":         {in(good, "auth-provider: {name: gcp}"), "auth-provider gcp"},
		"extra":                 {in(good, "as: a, as-user-extra: {a: [b]}"), "as-user-extra is not supported"},
		"groups of nobody":      {in(good, "as-groups: [a]"), "need as"},
		"exec without command":  {in(good, "exec: {apiVersion: client.authentication.k8s.io/v1}"), "no command"},
		"exec of another time":  {in(good, "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: a}"), "v1alpha1"},
		"exec that asks people": {in(good, "exec: {apiVersion: client.authentication.k8s.io/v1, command: a, interactiveMode: Always}"), "terminal"},
		"large":                 {strings.Repeat("#", maxFile+1), "more than 1048576 bytes"},
	} {
		if _, err := Kubeconfig(file(t, c.text), ""); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
	if _, err := Kubeconfig(filepath.Join(t.TempDir(), "missing"), ""); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a file that was named and is missing: %v", err)
	}
}

func TestInCluster(t *testing.T) {
	cert, _ := pair(t)
	dir := t.TempDir()
	env := map[string]string{"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
	load := func() (Config, error) { return inCluster(func(k string) string { return env[k] }, dir) }
	if _, err := load(); !errors.Is(err, ErrNotInCluster) {
		t.Errorf("without a token: %v", err)
	}
	write(t, filepath.Join(dir, "token"), "one\n")
	if _, err := load(); err == nil || errors.Is(err, ErrNotInCluster) {
		t.Errorf("without certificates: %v", err)
	}
	write(t, filepath.Join(dir, "ca.crt"), cert)
	write(t, filepath.Join(dir, "namespace"), "shop")
	c, err := load()
	if err != nil || c.Server.String() != "https://[fd00::1]:443" || c.Namespace != "shop" {
		t.Fatal(c, err)
	}
	synctest.Test(t, func(t *testing.T) {
		header(t, c, true)
		write(t, filepath.Join(dir, "token"), "two")
		if h := header(t, c, false); h != "Bearer one" {
			t.Errorf("%s, read anew at once", h)
		}
		if h := header(t, c, true); h != "Bearer two" {
			t.Errorf("%s, although the server refused the old one", h)
		}
		write(t, filepath.Join(dir, "token"), "three")
		time.Sleep(tokenAge)
		if h := header(t, c, false); h != "Bearer three" {
			t.Errorf("%s after a minute", h)
		}
	})
	delete(env, "KUBERNETES_SERVICE_HOST")
	if _, err := load(); !errors.Is(err, ErrNotInCluster) {
		t.Errorf("outside of a pod: %v", err)
	}
}

// plugin is a kubeconfig whose user is a script beside it.
func plugin(t *testing.T, script, more string) (Config, string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "plugin"), "#!/bin/sh\necho run >> '"+dir+"/runs'\n"+script)
	if err := os.Chmod(filepath.Join(dir, "plugin"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "config"), `
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://api', tls-server-name: name}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, args: [get, token], env: [{name: WHO, value: me}]`+more+`}}}]
`)
	c, err := Kubeconfig(filepath.Join(dir, "config"), "")
	if err != nil {
		t.Fatal(err)
	}
	return c, filepath.Join(dir, "runs")
}

func runs(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

const credential = `{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{%s}}`

func TestExecPlugin(t *testing.T) {
	c, log := plugin(t, `
case "$KUBERNETES_EXEC_INFO" in
*'"interactive":false'*'"server":"https://api"'*) ;;
*'"server":"https://api"'*'"interactive":false'*) ;;
*) echo "told $KUBERNETES_EXEC_INFO" >&2; exit 3;;
esac
echo '`+fmt.Sprintf(credential, `"token":"'$WHO-$1-$2'"`)+`'`, ", provideClusterInfo: true")
	for range 3 {
		if h := header(t, c, false); h != "Bearer me-get-token" {
			t.Error(h)
		}
	}
	if n := runs(t, log); n != 1 {
		t.Errorf("%d runs for a token without an end", n)
	}
	header(t, c, true)
	if n := runs(t, log); n != 2 {
		t.Errorf("%d runs after the server refused the token", n)
	}
	soon := time.Now().Add(expiryMargin / 2).UTC().Format(time.RFC3339)
	c, log = plugin(t, "echo '"+fmt.Sprintf(credential, `"token":"t","expirationTimestamp":"`+soon+`"`)+"'", "")
	header(t, c, false)
	header(t, c, false)
	if n := runs(t, log); n != 2 {
		t.Errorf("%d runs for a token that ends", n)
	}
}

func TestExecPluginErrors(t *testing.T) {
	for name, test := range map[string]struct{ script, more, want string }{
		"fails":           {"echo please log in >&2; exit 1", "", "exit status 1: please log in"},
		"says nothing":    {"exit 0", "", "unexpected end of JSON"},
		"another kind":    {"echo '{}'", "", "not an ExecCredential"},
		"nothing":         {"echo '" + fmt.Sprintf(credential, "") + "'", "", "neither a token nor a certificate"},
		"half":            {"echo '" + fmt.Sprintf(credential, `"clientCertificateData":"x"`) + "'", "", "the certificate that"},
		"too much":        {"head -c 1000000 /dev/zero", "", "more than 262144 bytes"},
		"missing":         {"", ", command: stella-no-such-plugin, installHint: 'get it from the shop'", "get it from the shop"},
		"too much stderr": {"head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1", "", "xxxx"},
	} {
		t.Run(name, func(t *testing.T) {
			var c Config
			if test.more == "" {
				c, _ = plugin(t, test.script, "")
			} else {
				var err error
				c, err = Kubeconfig(file(t, `
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: 'https://api'}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1`+test.more+`}}}]
`), "")
				if err != nil {
					t.Fatal(err)
				}
			}
			_, err := c.who.header(t.Context(), false)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "get credentials from") && name != "half" || len(err.Error()) > 2*maxComplaint {
				t.Errorf("%.200v; want %s", err, test.want)
			}
		})
	}
}

// Credentials that were renewed since are shown when the server refuses the old ones: token and certificate.
func TestCredentialsAreRenewed(t *testing.T) {
	good := ""
	var seen []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.Header.Get("Authorization")
		if certs := r.TLS.PeerCertificates; len(certs) > 0 {
			who += " " + certs[0].SerialNumber.String()
		}
		seen = append(seen, who)
		if who != good {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		io.WriteString(w, `{"kind":"PodList","items":[]}`)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	renew := func(token string) {
		cert, key := pair(t)
		write(t, filepath.Join(dir, "token"), token)
		write(t, filepath.Join(dir, "cert"), cert)
		write(t, filepath.Join(dir, "key"), key)
		block, _ := pem.Decode([]byte(cert))
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		good = "Bearer " + token + " " + parsed.SerialNumber.String()
	}
	renew("one")
	write(t, filepath.Join(dir, "config"), `
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: '`+s.URL+`', insecure-skip-tls-verify: true}}]
users: [{name: u, user: {tokenFile: token, client-certificate: cert, client-key: key}}]
`)
	config, err := Kubeconfig(filepath.Join(dir, "config"), "")
	if err != nil {
		t.Fatal(err)
	}
	c := New(config, "test/1")
	t.Cleanup(c.Close)
	for _, token := range []string{"one", "two"} {
		if token != "one" {
			renew(token)
		}
		if _, err := names(t.Context(), c, Query{Resource: Pods}); err != nil {
			t.Errorf("%s: %v; the server saw %q and wants %q", token, err, seen, good)
		}
	}
	good = "nobody"
	var refused *StatusError
	if _, err := names(t.Context(), c, Query{Resource: Pods}); !errors.As(err, &refused) || refused.Code != http.StatusUnauthorized {
		t.Errorf("%v", err)
	}
	if n := len(seen); n != 5 {
		t.Errorf("%d requests, want 1, 2 and 2: %q", n, seen)
	}
}
