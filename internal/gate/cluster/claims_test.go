package cluster

import (
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"stella/internal/gate"
)

func TestClaims(t *testing.T) {
	const bound, pending = `"late"},"status":{"phase":"Bound"`, `"late"},"status":{"phase":"Pending"`
	testCases(t, "claims", map[string]testCase{
		"a claim is pending":   {claimsPath, bound, pending, nil, ReasonUnbound, "1 of 2 claims not bound: hermes/data (Pending, made 2026-04-22T00:00:00Z)"},
		"a claim is lost":      {claimsPath, `"Bound"`, `"Lost"`, nil, ReasonUnbound, "shop/data (Lost"},
		"a claim has no phase": {claimsPath, `"phase"`, `"x"`, nil, ReasonUnbound, "shop/data"},
		"ignored by name":      {claimsPath, bound, pending, func(o *options) { o.claims.Ignore = []string{"hermes/data"} }, "", "1 ignored"},
		"ignored by namespace": {claimsPath, bound, pending, func(o *options) { o.claims.Ignore = []string{"hermes/*"} }, "", "1 ignored"},
		"another is ignored":   {claimsPath, bound, pending, func(o *options) { o.claims.Ignore = []string{"shop/*", "hermes/dat"} }, ReasonUnbound, ""},
		"waits for a consumer": {claimsPath, bound, pending, func(o *options) { o.claims.IgnoreUnplaced = true }, "", "1 ignored"},
		"waits, though it is placed": {claimsPath, `"creationTimestamp":"2026-04-22T00:00:00Z"},"spec":{"storageClassName":"late"},"status":{"phase":"Bound"`,
			`"annotations":{"volume.kubernetes.io/selected-node":"n1"}},"spec":{"storageClassName":"late"},"status":{"phase":"Pending"`, func(o *options) { o.claims.IgnoreUnplaced = true }, ReasonUnbound, ""},
		"waits for no consumer":  {claimsPath, `"fast"},"status":{"phase":"Bound"`, `"fast"},"status":{"phase":"Pending"`, func(o *options) { o.claims.IgnoreUnplaced = true }, ReasonUnbound, "shop/data"},
		"no claims":              {claimsPath, "", listJSON("PersistentVolumeClaim"), nil, "", "0 claims"},
		"a claim without a name": {claimsPath, `"name":"data"`, `"x":1`, nil, ReasonBadAnswer, "without a name"},
	})
}

// Namespaces and labels are the server's to choose by.
func TestClaimsOfSome(t *testing.T) {
	var asked []string
	c := server(t, func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path+"?"+r.URL.Query().Get("labelSelector"))
		io.WriteString(rw, world()[claimsPath])
	})
	o := defaults(t)
	o.claims = ClaimsOptions{Namespaces: []string{"a", "b"}, Labels: "x!=y"}
	if r := run(t.Context(), c, o, "claims")[0]; r.Outcome != gate.Pass {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff([]string{"/api/v1/namespaces/a/persistentvolumeclaims?x!=y", "/api/v1/namespaces/b/persistentvolumeclaims?x!=y"}, asked); diff != "" {
		t.Error(diff)
	}
}
