package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"stella/internal/kube"
)

// maxPods is more than Kubernetes is made for (150,000 pods); a list of them needs 100 MiB.
const maxPods = 200_000

// errNoCluster says that nothing here leads to a Kubernetes.
var errNoCluster = errors.New("there is no kubeconfig, and this is no pod")

// clusterFlags say which Kubernetes a command asks.
type clusterFlags struct{ kubeconfig, context string }

func (f *clusterFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "`file` that says where Kubernetes is (default $KUBECONFIG, else ~/.kube/config)")
	flags.StringVar(&f.context, "context", "", "`name` of a context of the kubeconfig (default the current one)")
}

// config finds the Kubernetes that is meant; [errNoCluster] where there is none.
func (f *clusterFlags) config() (kube.Config, error) {
	config, err := kube.Kubeconfig(f.kubeconfig, f.context)
	if !errors.Is(err, kube.ErrNoKubeconfig) || f.kubeconfig != "" || f.context != "" {
		return config, err
	}
	if config, err = kube.InCluster(); errors.Is(err, kube.ErrNotInCluster) {
		return config, errNoCluster
	}
	return config, err
}

// podList are pods of one namespace, or of all for "".
type podList struct {
	lines     []podLine
	namespace string
}

// pods lists the pods of a namespace, "" for the configured one, or of all; with a name only that one.
func (f *clusterFlags) pods(ctx context.Context, a *app, namespace string, all bool, name string) (podList, error) {
	config, err := f.config()
	if err != nil {
		return podList{}, err
	}
	if !all && namespace == "" {
		namespace = config.Namespace
	}
	server := kube.New(config, "stella/"+a.version)
	defer server.Close()
	q := kube.Query{Resource: kube.Pods, Namespace: namespace}
	if name != "" {
		q.Fields = "metadata.name=" + name
	}
	listed := podList{namespace: namespace}
	err = kube.List(ctx, server, q, func(p *clusterPod) error {
		if len(listed.lines) == maxPods {
			return fmt.Errorf("there are more than %d pods: choose a namespace", maxPods)
		}
		listed.lines = append(listed.lines, p.line())
		return nil
	})
	return listed, err
}
