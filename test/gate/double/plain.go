package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// plain is what answers without TLS: Prometheus, and kured's pods, which have an address each.
func (c *cluster) plain() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/alerts", func(w http.ResponseWriter, _ *http.Request) {
		c.count("GET alerts")
		c.writeAlerts(w)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		c.count("GET kured")
		c.writeKured(w, r)
	})
	return mux
}

func (c *cluster) writeAlerts(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriter(w)
	defer out.Flush()
	out.WriteString(`{"status":"success","data":{"alerts":[`)
	write := func(name string) {
		fmt.Fprintf(out, `{"labels":{"alertname":%q,"namespace":"shop","pod":"shop-1","severity":"warning","prometheus":"monitoring/k8s"},`+
			`"annotations":{"summary":"Something is not as it should be.","description":"The pod shop-1 in the namespace shop has not been as it should be for some time now, and somebody has to look at it.","runbook_url":"https://runbooks.example/%s"},`+
			`"state":"firing","activeAt":%q,"value":"1e+00"}`, name, name, ago(c, 3*time.Hour))
	}
	write("Watchdog")
	for i := range c.alerts {
		out.WriteByte(',')
		write(fmt.Sprintf("Routine%05d", i))
	}
	for _, name := range c.told().Fire {
		out.WriteByte(',')
		write(name)
	}
	out.WriteString("]}}\n")
}

// writeKured is the metrics of the kured whose address was asked: 1 while the gated file of its node is there.
func (c *cluster) writeKured(w http.ResponseWriter, r *http.Request) {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		http.Error(w, "no address", http.StatusInternalServerError)
		return
	}
	for i := range c.gates {
		if address(i) != local.IP.String() {
			continue
		}
		required := 1
		if _, err := os.Lstat(filepath.Join(c.dir, nodeName(i), "gated-reboot-required")); errors.Is(err, fs.ErrNotExist) {
			required = 0
		}
		fmt.Fprintf(w, "# HELP go_goroutines Number of goroutines that currently exist.\n# TYPE go_goroutines gauge\ngo_goroutines 12\n"+
			"# HELP kured_reboot_required OS requires reboot due to software updates.\n# TYPE kured_reboot_required gauge\nkured_reboot_required{node=%q} %d\n", nodeName(i), required)
		return
	}
	http.Error(w, "there is no kured at "+local.IP.String(), http.StatusNotFound)
}
