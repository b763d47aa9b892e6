package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"stella/internal/kube"
)

// gateHelp ends the help of commands about the reboot gate.
const gateHelp = `What the gates found is read from Kubernetes, which is found as kubectl finds it: $KUBECONFIG,
else ~/.kube/config, else the service account of the pod that this runs in.`

// gateNamespace is where deploy/kubernetes/gate.yaml puts the gates, and so their Lease.
const gateNamespace = "stella"

func newGate(a *app) *cobra.Command {
	f := &gateFlags{app: a}
	cmd := group(&cobra.Command{
		Use:   "gate",
		Short: "Say why a node is not rebooted, and hold nodes back",
		Long: `Say why a node that wants a reboot does not get one, and hold nodes back. kured reboots a
node when it finds a file there; kured-sentinel-gate is what makes that file, when all of its
checks pass, and takes it away when one does not.

` + gateHelp,
		Example: `  stella gate status
  stella gate explain node1
  stella gate hold node1 --reason "disk is being replaced" --for 2h
  stella gate release node1`,
	}, newGateStatus(a, f), newGateExplain(a, f), newGateHold(a, f), newGateRelease(a, f))
	f.add(cmd.PersistentFlags())
	return cmd
}

// gateFlags say which cluster a command about the gate asks.
type gateFlags struct {
	app       *app
	cluster   clusterFlags
	namespace string
}

func (f *gateFlags) add(flags *pflag.FlagSet) {
	flags.StringVarP(&f.namespace, "namespace", "n", gateNamespace, "`namespace` of the gates, and of their Lease")
	f.cluster.add(flags)
}

// ask calls fn with the cluster that is meant.
func (f *gateFlags) ask(ctx context.Context, fn func(context.Context, *gateCluster) error) error {
	config, err := f.cluster.config()
	if errors.Is(err, errNoCluster) {
		return fmt.Errorf("%w; name a kubeconfig with --kubeconfig or $KUBECONFIG", err)
	}
	if err != nil {
		return err
	}
	client := kube.New(config, "stella/"+f.app.version)
	defer client.Close()
	err = fn(ctx, &gateCluster{client, f.namespace})
	var status *kube.StatusError
	if errors.As(err, &status) && (status.Code == http.StatusForbidden || status.Code == http.StatusUnauthorized) {
		return &exitError{ExitAuth, fmt.Errorf("%w; docs/gate.md has the rights that this needs", err)}
	}
	return err
}
