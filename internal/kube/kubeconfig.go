package kube

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrNoKubeconfig says that there is no kubeconfig where one was looked for.
var ErrNoKubeconfig = errors.New("there is no kubeconfig")

// Kubeconfig is the configuration that kubectl would use. files are separated as in $KUBECONFIG, and the first that has
// a thing counts; "" is $KUBECONFIG, or else ~/.kube/config. context is "" for the current one.
func Kubeconfig(files, context string) (Config, error) {
	named := files != ""
	if files = cmp.Or(files, os.Getenv("KUBECONFIG")); files == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return Config{}, fmt.Errorf("%w: %w", ErrNoKubeconfig, err)
		}
		files = filepath.Join(home, ".kube", "config")
	}
	all, err := readKubeconfigs(files, named)
	if err != nil {
		return Config{}, err
	}
	c, err := all.config(context)
	if err != nil {
		return Config{}, fmt.Errorf("kubeconfig %s: %w", files, err)
	}
	return c, nil
}

// kubeconfig is what is read of a kubeconfig, https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/.
type kubeconfig struct {
	Current  string `yaml:"current-context"`
	Contexts []struct {
		Name    string
		Context kubeContext
	}
	Clusters []struct {
		Name    string
		Cluster kubeCluster
	}
	Users []struct {
		Name string
		User kubeUser
	}
}

type kubeContext struct{ Cluster, User, Namespace string }

type kubeCluster struct {
	Server, dir string
	CA          string `yaml:"certificate-authority"`
	CAData      string `yaml:"certificate-authority-data"`
	Insecure    bool   `yaml:"insecure-skip-tls-verify"`
	ServerName  string `yaml:"tls-server-name"`
	Proxy       string `yaml:"proxy-url"`
}

type kubeUser struct {
	dir                string
	Cert               string `yaml:"client-certificate"`
	CertData           string `yaml:"client-certificate-data"`
	Key                string `yaml:"client-key"`
	KeyData            string `yaml:"client-key-data"`
	Token              string
	TokenFile          string `yaml:"tokenFile"`
	Username, Password string
	As                 string
	AsUID              string              `yaml:"as-uid"`
	AsGroups           []string            `yaml:"as-groups"`
	AsExtra            map[string][]string `yaml:"as-user-extra"`
	Exec               *execPlugin
	AuthProvider       *struct{ Name string } `yaml:"auth-provider"`
}

// readKubeconfigs reads all files and remembers where each thing came from: paths in it are relative to that.
// A file that is missing is left out, as kubectl does, if there is another.
func readKubeconfigs(files string, named bool) (kubeconfig, error) {
	var all kubeconfig
	found := 0
	for _, name := range filepath.SplitList(files) {
		if name == "" {
			continue
		}
		text, err := readFile(name)
		if errors.Is(err, fs.ErrNotExist) && !(named && name == files) {
			continue
		}
		if err != nil {
			return all, fmt.Errorf("read the kubeconfig: %w", err)
		}
		var one kubeconfig
		if err := yaml.Unmarshal(text, &one); err != nil {
			return all, fmt.Errorf("kubeconfig %s: %w", name, err)
		}
		dir, err := filepath.Abs(filepath.Dir(name))
		if err != nil {
			return all, fmt.Errorf("kubeconfig %s: %w", name, err)
		}
		for i := range one.Clusters {
			one.Clusters[i].Cluster.dir = dir
		}
		for i := range one.Users {
			one.Users[i].User.dir = dir
		}
		all.Current = cmp.Or(all.Current, one.Current)
		all.Contexts = append(all.Contexts, one.Contexts...)
		all.Clusters = append(all.Clusters, one.Clusters...)
		all.Users = append(all.Users, one.Users...)
		found++
	}
	if found == 0 {
		return all, fmt.Errorf("%w at %s", ErrNoKubeconfig, files)
	}
	return all, nil
}

// config is what one context leads to.
func (k *kubeconfig) config(name string) (Config, error) {
	name = cmp.Or(name, k.Current)
	if name == "" {
		return Config{}, errors.New("it has no current context: name one of its contexts")
	}
	context, err := k.context(name)
	if err != nil {
		return Config{}, err
	}
	c := Config{Namespace: cmp.Or(context.Namespace, "default"), who: static{}}
	cluster, err := k.cluster(context.Cluster)
	if err != nil {
		return Config{}, fmt.Errorf("context %s: %w", name, err)
	}
	if err := cluster.apply(&c); err != nil {
		return Config{}, fmt.Errorf("cluster %s: %w", context.Cluster, err)
	}
	if context.User == "" {
		return c, nil
	}
	user, err := k.user(context.User)
	if err != nil {
		return Config{}, fmt.Errorf("context %s: %w", name, err)
	}
	if err := user.apply(&c, cluster); err != nil {
		return Config{}, fmt.Errorf("user %s: %w", context.User, err)
	}
	return c, nil
}

func (k *kubeconfig) context(name string) (kubeContext, error) {
	for _, c := range k.Contexts {
		if c.Name == name {
			return c.Context, nil
		}
	}
	return kubeContext{}, fmt.Errorf("it has no context %q", name)
}

func (k *kubeconfig) cluster(name string) (kubeCluster, error) {
	for _, c := range k.Clusters {
		if c.Name == name {
			return c.Cluster, nil
		}
	}
	return kubeCluster{}, fmt.Errorf("there is no cluster %q", name)
}

func (k *kubeconfig) user(name string) (kubeUser, error) {
	for _, u := range k.Users {
		if u.Name == name {
			return u.User, nil
		}
	}
	return kubeUser{}, fmt.Errorf("there is no user %q", name)
}

// apply takes the address and what the server is checked with.
func (k kubeCluster) apply(c *Config) error {
	u, err := url.Parse(k.Server)
	switch {
	case err != nil:
		return fmt.Errorf("address of the server: %w", err)
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "":
		return fmt.Errorf("%q is no address of a server: write https://HOST:PORT", u.Redacted())
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	c.Server = u
	c.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: k.ServerName, InsecureSkipVerify: k.Insecure}
	if k.Proxy != "" {
		if c.proxy, err = url.Parse(k.Proxy); err != nil {
			return fmt.Errorf("proxy-url: %w", err)
		}
	}
	ca, err := either("certificate-authority", k.CAData, k.CA, k.dir)
	if err != nil || ca.empty() {
		return err
	}
	pem, err := ca.read()
	if err != nil {
		return fmt.Errorf("read the certificates that the server is checked with: %w", err)
	}
	return c.trust(pem)
}

// apply takes who we are.
func (k kubeUser) apply(c *Config, cluster kubeCluster) error {
	switch {
	case k.AuthProvider != nil:
		return fmt.Errorf("auth-provider %s: Kubernetes has done away with these; use an exec plugin", k.AuthProvider.Name)
	case len(k.AsExtra) > 0:
		return errors.New("as-user-extra is not supported, and without it the rights would be others")
	case k.As == "" && (k.AsUID != "" || len(k.AsGroups) > 0):
		return errors.New("as-uid and as-groups need as")
	}
	c.as = identity{k.As, k.AsUID, k.AsGroups}
	switch {
	case k.Exec != nil:
		k.Exec.dir = k.dir
		if err := k.Exec.check(cluster); err != nil {
			return err
		}
		c.who = k.Exec
		return nil
	case k.TokenFile != "":
		c.who = &tokenFile{name: below(k.dir, k.TokenFile)}
	case k.Token != "":
		c.who = static{bearer(k.Token)}
	case k.Username != "":
		c.who = static{basic(k.Username, k.Password)}
	}
	cert, err := either("client-certificate", k.CertData, k.Cert, k.dir)
	if err != nil {
		return err
	}
	key, err := either("client-key", k.KeyData, k.Key, k.dir)
	switch {
	case err != nil:
		return err
	case cert.empty() != key.empty():
		return errors.New("client-certificate and client-key need each other")
	case !cert.empty():
		c.who = keyPair{c.who, cert, key}
	}
	return nil
}

// either is what a pair of keys gives, NAME-data or NAME; the first counts.
func either(name, data, file, dir string) (source, error) {
	if data == "" {
		if file == "" {
			return source{}, nil
		}
		return source{file: below(dir, file)}, nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(data))
	if err != nil {
		return source{}, fmt.Errorf("%s-data: %w", name, err)
	}
	return source{data: b}, nil
}

// below is a path of a kubeconfig in a directory.
func below(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}
