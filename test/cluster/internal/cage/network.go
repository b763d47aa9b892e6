package cage

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
)

// Addresses inside a node's network namespace. They are the same in every cage:
// no packet leaves one.
const (
	// NodeIP is the node's address, on a bridge of its own: the kubelet refuses a
	// loopback address, and a kernel may be without dummy devices.
	NodeIP = "172.30.0.2"
	// ServiceIP is what the Service "kubernetes" is given, first of ServiceCIDR. It
	// is an address of the node, so that pods reach the API server at it without a
	// kube-proxy.
	ServiceIP   = "10.96.0.1"
	ServiceCIDR = "10.96.0.0/16"
	// PodCIDR is what the CNI plugin gives to pods.
	PodCIDR = "10.244.0.0/24"
)

// Wire gives the network namespace of this process its addresses and lets it
// forward between pods. The namespace must be the cage's own.
func Wire() error {
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "node0"}}); err != nil {
		return fmt.Errorf("make the node's bridge: %w", err)
	}
	for name, addresses := range map[string][]string{
		"lo":    {ServiceIP + "/32"},
		"node0": {NodeIP + "/24"},
	} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find the device %s: %w", name, err)
		}
		for _, address := range addresses {
			parsed, err := netlink.ParseAddr(address)
			if err == nil {
				err = netlink.AddrAdd(link, parsed)
			}
			if err != nil {
				return fmt.Errorf("give %s the address %s: %w", name, address, err)
			}
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring %s up: %w", name, err)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("let the node forward between its pods: %w", err)
	}
	return nil
}
