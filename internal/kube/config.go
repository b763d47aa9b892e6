package kube

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Config says where the API server is and who we are.
type Config struct {
	// Server is its address, such as https://10.0.0.1:6443, perhaps with a path.
	Server *url.URL
	// Namespace is that of the pod, or of the kubeconfig's context; "default" else.
	Namespace string

	tls   *tls.Config
	proxy *url.URL
	as    identity
	who   credentials
}

// identity is who the user is to act as.
type identity struct {
	user, uid string
	groups    []string
}

// serviceAccount is where a pod has the token of its service account.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// ErrNotInCluster says that this does not run in a pod, or in one without a service account.
var ErrNotInCluster = errors.New("this is no pod with a service account: the variable KUBERNETES_SERVICE_HOST, or the token, is missing")

// InCluster is the configuration of a pod's service account.
func InCluster() (Config, error) { return inCluster(os.Getenv, serviceAccount) }

func inCluster(getenv func(string) string, dir string) (Config, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return Config{}, ErrNotInCluster
	}
	token := filepath.Join(dir, "token")
	if _, err := readFile(token); errors.Is(err, fs.ErrNotExist) {
		return Config{}, ErrNotInCluster
	} else if err != nil {
		return Config{}, fmt.Errorf("read the token of the service account: %w", err)
	}
	ca, err := readFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return Config{}, fmt.Errorf("read the certificates that the API server is checked with: %w", err)
	}
	c := Config{
		Server:    &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)},
		Namespace: "default",
		tls:       &tls.Config{MinVersion: tls.VersionTLS12},
		who:       &tokenFile{name: token},
	}
	if namespace, err := readFile(filepath.Join(dir, "namespace")); err == nil {
		c.Namespace = strings.TrimSpace(string(namespace))
	}
	return c, c.trust(ca)
}

// trust takes the certificates that may have signed the server's.
func (c *Config) trust(pem []byte) error {
	c.tls.RootCAs = x509.NewCertPool()
	if !c.tls.RootCAs.AppendCertsFromPEM(pem) {
		return errors.New("the certificates that the API server is checked with are no PEM")
	}
	return nil
}

// maxFile bounds a file of configuration: kubeconfigs of some hundred clusters, with all their certificates, fit.
const maxFile = 1 << 20

// readFile reads a small file.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, maxFile, name)
}
