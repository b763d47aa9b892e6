package pki

import (
	"fmt"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig signs a client certificate and writes a kubeconfig with it to
// dir/name.kubeconfig, for the API server at a URL.
func (a *Authority) Kubeconfig(name, server, user string, groups ...string) error {
	id, err := a.Client(user, groups...)
	if err != nil {
		return err
	}
	const context = "stella-test"
	config := api.NewConfig()
	config.Clusters[context] = &api.Cluster{Server: server, CertificateAuthorityData: a.pem}
	config.AuthInfos[user] = &api.AuthInfo{ClientCertificateData: id.Cert, ClientKeyData: id.Key}
	config.Contexts[context] = &api.Context{Cluster: context, AuthInfo: user}
	config.CurrentContext = context
	if err := clientcmd.WriteToFile(*config, filepath.Join(a.dir, name+".kubeconfig")); err != nil {
		return fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return nil
}
