package kube

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// execTimeout bounds how long a program may take: those that ask a cloud need seconds, and one that opens a browser
	// waits for a person.
	execTimeout = 3 * time.Minute
	// maxExec bounds what it prints. An ExecCredential has a token and perhaps a certificate.
	maxExec = 256 << 10
	// maxComplaint bounds what is quoted of its stderr.
	maxComplaint = 1 << 10
	// expiryMargin is how long before their end credentials are no longer used.
	expiryMargin = 10 * time.Second
)

// execPlugin is a program that prints credentials,
// https://kubernetes.io/docs/reference/config-api/client-authentication.v1/.
type execPlugin struct {
	APIVersion string `yaml:"apiVersion"`
	Command    string
	Args       []string
	Env        []struct{ Name, Value string }
	Hint       string `yaml:"installHint"`
	Cluster    bool   `yaml:"provideClusterInfo"`
	Mode       string `yaml:"interactiveMode"`

	dir  string
	info []byte // for the program: KUBERNETES_EXEC_INFO

	mu      sync.Mutex
	token   string
	pair    *tls.Certificate
	expires time.Time // zero: until the server refuses
	have    bool
}

// execCredential is what the program is told and what it answers.
type execCredential struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Spec       map[string]any `json:"spec"`
	Status     *struct {
		Expires time.Time `json:"expirationTimestamp"`
		Token   string    `json:"token"`
		Cert    string    `json:"clientCertificateData"`
		Key     string    `json:"clientKeyData"`
	} `json:"status,omitempty"`
}

// check prepares what the program is told.
func (p *execPlugin) check(cluster kubeCluster) error {
	switch {
	case p.Command == "":
		return errors.New("exec: it has no command")
	case p.APIVersion != "client.authentication.k8s.io/v1" && p.APIVersion != "client.authentication.k8s.io/v1beta1":
		return fmt.Errorf("exec: apiVersion %q is not supported; v1 and v1beta1 are", p.APIVersion)
	case p.Mode == "Always":
		return fmt.Errorf("exec: %s wants to ask a person at a terminal (interactiveMode: Always), which is not supported", p.Command)
	}
	if filepath.Base(p.Command) != p.Command {
		p.Command = below(p.dir, p.Command)
	}
	spec := map[string]any{"interactive": false}
	if p.Cluster {
		info := map[string]any{"server": cluster.Server}
		ca, err := either("certificate-authority", cluster.CAData, cluster.CA, cluster.dir)
		if err != nil {
			return err
		}
		if !ca.empty() {
			pem, err := ca.read()
			if err != nil {
				return fmt.Errorf("exec: %w", err)
			}
			info["certificate-authority-data"] = pem
		}
		for key, value := range map[string]string{"tls-server-name": cluster.ServerName, "proxy-url": cluster.Proxy} {
			if value != "" {
				info[key] = value
			}
		}
		if cluster.Insecure {
			info["insecure-skip-tls-verify"] = true
		}
		spec["cluster"] = info
	}
	var err error
	p.info, err = json.Marshal(execCredential{APIVersion: p.APIVersion, Kind: "ExecCredential", Spec: spec})
	return err
}

func (p *execPlugin) header(ctx context.Context, fresh bool) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.renew(ctx, fresh); err != nil || p.token == "" {
		return "", err
	}
	return bearer(p.token), nil
}

func (p *execPlugin) certificate(ctx context.Context) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.renew(ctx, false)
	return p.pair, err
}

// renew runs the program if what it said is not good any more.
func (p *execPlugin) renew(ctx context.Context, fresh bool) error {
	if p.have && !fresh && (p.expires.IsZero() || time.Until(p.expires) > expiryMargin) {
		return nil
	}
	answer, err := p.run(ctx)
	if err != nil {
		return fmt.Errorf("get credentials from %s: %w", p.Command, err)
	}
	status := answer.Status
	var pair *tls.Certificate
	if status.Cert != "" || status.Key != "" {
		both, err := tls.X509KeyPair([]byte(status.Cert), []byte(status.Key))
		if err != nil {
			return fmt.Errorf("the certificate that %s gave: %w", p.Command, err)
		}
		pair = &both
	}
	p.token, p.pair, p.expires, p.have = status.Token, pair, status.Expires, true
	return nil
}

func (p *execPlugin) run(ctx context.Context) (execCredential, error) {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	var answer execCredential
	out, complaint := bounded{limit: maxExec}, bounded{limit: maxComplaint}
	cmd := exec.CommandContext(ctx, p.Command, p.Args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = time.Second // for what it left running with its stdout
	cmd.Env = append(os.Environ(), "KUBERNETES_EXEC_INFO="+string(p.info))
	for _, e := range p.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) && p.Hint != "" {
			return answer, fmt.Errorf("%w. %s", err, strings.TrimSpace(p.Hint))
		}
		if said := strings.TrimSpace(complaint.kept.String()); said != "" {
			return answer, fmt.Errorf("%w: %s", err, said)
		}
		return answer, err
	}
	if out.over {
		return answer, fmt.Errorf("it printed more than %d bytes", maxExec)
	}
	if err := json.Unmarshal(out.kept.Bytes(), &answer); err != nil {
		return answer, fmt.Errorf("what it printed: %w", err)
	}
	switch {
	case answer.Kind != "ExecCredential" || answer.APIVersion != p.APIVersion:
		return answer, fmt.Errorf("it printed a %q of %q, not an ExecCredential of %q", answer.Kind, answer.APIVersion, p.APIVersion)
	case answer.Status == nil, answer.Status.Token == "" && answer.Status.Cert == "":
		return answer, errors.New("it gave neither a token nor a certificate")
	}
	return answer, nil
}

// bounded keeps the beginning of what is written to it. It is no bytes.Buffer by embedding: io.Copy would find its
// ReadFrom, which has no bound.
type bounded struct {
	kept  bytes.Buffer
	limit int
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	keep := min(len(p), b.limit-b.kept.Len())
	b.over = b.over || keep < len(p)
	b.kept.Write(p[:keep])
	return len(p), nil
}
