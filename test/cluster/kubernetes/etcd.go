package main

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
)

// etcdStart bounds the wait for a single member's own election.
const etcdStart = time.Minute

// etcdCommand runs one etcd member that nothing survives: it does not fsync,
// because its data directory is removed with its cluster.
func etcdCommand() *cobra.Command {
	var dir, client, peer string
	command := &cobra.Command{
		Use:           "etcd",
		Short:         "Run one etcd member for a test cluster",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runEtcd(cmd, dir, client, peer)
		},
	}
	command.Flags().StringVar(&dir, "data-dir", "", "directory for its data")
	command.Flags().StringVar(&client, "listen-client-url", "", "URL to serve clients at")
	command.Flags().StringVar(&peer, "listen-peer-url", "", "URL to serve peers at")
	return command
}

func runEtcd(cmd *cobra.Command, dir, client, peer string) error {
	clientURL, err := url.Parse(client)
	if err != nil {
		return fmt.Errorf("etcd: --listen-client-url: %w", err)
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return fmt.Errorf("etcd: --listen-peer-url: %w", err)
	}
	config := embed.NewConfig()
	config.Dir = dir
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true
	// A member alone has nobody to wait for before it elects itself.
	config.TickMs, config.ElectionMs = 10, 50
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-time.After(etcdStart):
		return errors.New("etcd: not ready after a minute")
	}
	select {
	case err := <-server.Err():
		return fmt.Errorf("etcd: %w", err)
	case <-cmd.Context().Done():
		return nil
	}
}
