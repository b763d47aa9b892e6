package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// list is the handler of a list of objects that are known by their number, from 0 to count. matches chooses; nil is all.
func (c *cluster) list(kind string, count func() int, write func(w *bufio.Writer, i int), matches func(r *http.Request, i int) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		page, next := c.page(r, count(), matches)
		out := bufio.NewWriter(w)
		defer out.Flush()
		if strings.Contains(r.Header.Get("Accept"), "as=Table") && (kind == "Node" || kind == "Pod") {
			c.table(out, kind, page, next)
			return
		}
		fmt.Fprintf(out, `{"kind":"%sList","apiVersion":"v1","metadata":{"resourceVersion":"1","continue":%q},"items":[`, kind, next)
		for n, i := range page {
			if n > 0 {
				out.WriteByte(',')
			}
			write(out, i)
		}
		out.WriteString("]}\n")
	}
}

// page are the numbers of the objects of one page, and where the next one begins, "" at the end.
func (c *cluster) page(r *http.Request, count int, matches func(r *http.Request, i int) bool) (page []int, next string) {
	q := r.URL.Query()
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit <= 0 {
		limit = count
	}
	first, _ := strconv.Atoi(q.Get("continue")) // 0 is the beginning
	for i := first; i < count; i++ {
		switch {
		case matches != nil && !matches(r, i):
		case len(page) == limit:
			return page, strconv.Itoa(i)
		default:
			page = append(page, i)
		}
	}
	return page, ""
}

// table is how an API server gives a list to kubectl, which prints it.
func (c *cluster) table(out *bufio.Writer, kind string, page []int, next string) {
	columns := []string{"Name", "Status", "Roles", "Age", "Version"}
	if kind == "Pod" {
		columns = []string{"Name", "Ready", "Status", "Restarts", "Age"}
	}
	fmt.Fprintf(out, `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"1","continue":%q},"columnDefinitions":[`, next)
	for i, name := range columns {
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(out, `{"name":%q,"type":"string","format":"","description":"","priority":0}`, name)
	}
	out.WriteString(`],"rows":[`)
	for n, i := range page {
		if n > 0 {
			out.WriteByte(',')
		}
		name, cells := nodeName(i), `"Ready","<none>","41d","v1.35.4"`
		if kind == "Pod" {
			name, cells = c.pod(i).name(), `"1/1","Running","0","41d"`
		}
		fmt.Fprintf(out, `{"cells":[%q,%s],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":%q,"labels":%s,"managedFields":[]}}}`, name, cells, name, someLabels)
	}
	out.WriteString("]}\n")
}

const someLabels = `{"beta.kubernetes.io/arch":"amd64","beta.kubernetes.io/os":"linux","kubernetes.io/arch":"amd64","kubernetes.io/os":"linux"}`

// discovery is how kubectl finds out what there is.
func (c *cluster) discovery(mux *http.ServeMux) {
	for path, text := range map[string]string{
		"/api":     `{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[]}`,
		"/apis":    `{"kind":"APIGroupList","apiVersion":"v1","groups":[]}`,
		"/version": `{"major":"1","minor":"35","gitVersion":"v1.35.4"}`,
		"/api/v1": `{"kind":"APIResourceList","groupVersion":"v1","resources":[` +
			`{"name":"nodes","singularName":"node","namespaced":false,"kind":"Node","verbs":["get","list"],"shortNames":["no"]},` +
			`{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"],"shortNames":["po"]}]}`,
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintln(w, text)
		})
	}
}
