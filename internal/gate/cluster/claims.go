package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"stella/internal/gate"
	"stella/internal/kube"
)

// ClaimsOptions are those of [Claims].
type ClaimsOptions struct {
	// Namespaces are those whose claims count; none is all.
	Namespaces []string
	// Labels chooses the claims that count, as kubectl does, such as "tier!=scratch".
	Labels string
	// Ignore are claims that do not count, each as NAMESPACE/NAME, or NAMESPACE/* for all of a namespace.
	Ignore []string
	// IgnoreUnplaced leaves out claims whose storage class waits for a first consumer, while no pod that uses them was placed on a node. There may be no such pod, as of
	// a Deployment that is parked at no replicas, or it may fit nowhere: this does not tell which.
	IgnoreUnplaced bool
}

// Claims is the check that all persistent volume claims are bound. Having none is well.
func Claims(client *kube.Client, o ClaimsOptions) gate.Check {
	return gate.Check{Name: "claims", Timeout: timeout, Run: func(ctx context.Context) gate.Result {
		c := claimsCheck{options: o}
		if err := c.list(ctx, client); err != nil {
			return cannotTell(err)
		}
		return c.result()
	}}
}

// claim is what is read of one.
type claim struct {
	namespace, name, class, phase string
	created                       time.Time
	placed                        bool
}

// UnmarshalJSON reads it.
func (c *claim) UnmarshalJSON(b []byte) error {
	return decode(b, fields{
		"metadata": fields{
			"namespace": text(&c.namespace), "name": text(&c.name), "creationTimestamp": moment(&c.created),
			// The scheduler says so when it has found a node for a pod of the claim.
			"annotations": fields{"volume.kubernetes.io/selected-node": there(&c.placed)}.read,
		}.read,
		"spec":   fields{"storageClassName": text(&c.class)}.read,
		"status": fields{"phase": text(&c.phase)}.read,
	})
}

type claimsCheck struct {
	options        ClaimsOptions
	waiting        map[string]bool // storage classes that wait for a first consumer
	bound, ignored int
	unbound        names
}

func (c *claimsCheck) list(ctx context.Context, client *kube.Client) error {
	if c.options.IgnoreUnplaced {
		if err := c.classes(ctx, client); err != nil {
			return err
		}
	}
	namespaces := c.options.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	for _, n := range namespaces {
		q := kube.Query{Resource: kube.Claims, Namespace: n, Labels: c.options.Labels}
		if err := kube.List(ctx, client, q, c.see); err != nil {
			return err
		}
	}
	return nil
}

func (c *claimsCheck) see(one *claim) error {
	switch {
	case one.name == "":
		return errors.New("the server lists a claim without a name")
	case one.phase == "Bound":
		c.bound++
	case c.ignores(one):
		c.ignored++
	default:
		c.unbound.add("%s/%s (%s, made %s)", one.namespace, one.name, one.phase, one.created.UTC().Format(time.RFC3339))
	}
	return nil
}

func (c *claimsCheck) ignores(one *claim) bool {
	return slices.Contains(c.options.Ignore, one.namespace+"/"+one.name) || slices.Contains(c.options.Ignore, one.namespace+"/*") ||
		one.phase == "Pending" && !one.placed && c.waiting[one.class]
}

// storageClass is what is read of one.
type storageClass struct{ name, binding string }

// UnmarshalJSON reads it.
func (s *storageClass) UnmarshalJSON(b []byte) error {
	return decode(b, fields{"metadata": fields{"name": text(&s.name)}.read, "volumeBindingMode": text(&s.binding)})
}

// maxClasses bounds the storage classes that are kept: clusters have a handful.
const maxClasses = 1000

func (c *claimsCheck) classes(ctx context.Context, client *kube.Client) error {
	c.waiting = map[string]bool{}
	q := kube.Query{Resource: kube.Resource{Group: "storage.k8s.io", Version: "v1", Plural: "storageclasses"}}
	return kube.List(ctx, client, q, func(s *storageClass) error {
		if s.name == "" {
			return errors.New("the server lists a storage class without a name")
		}
		if s.binding == "WaitForFirstConsumer" {
			c.waiting[s.name] = true
		}
		if len(c.waiting) > maxClasses {
			return because(ReasonTooLarge, fmt.Errorf("more than %d storage classes", maxClasses))
		}
		return nil
	})
}

func (c *claimsCheck) result() gate.Result {
	if c.unbound.count > 0 {
		return c.unbound.blocked(ReasonUnbound, "they are bound or removed, or an option ignores them", "%d of %d claims not bound", c.unbound.count, c.unbound.count+c.bound+c.ignored)
	}
	return gate.Passed("%d claims bound, %d ignored", c.bound, c.ignored)
}
