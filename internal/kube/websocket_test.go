package kube

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// The handshake has what RFC 6455 wants and who we are, and leads to a connection both ways; what is no answer to it is an error.
func TestWebSocket(t *testing.T) {
	answer := ""
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/api/v1/namespaces/ns/pods/p/exec?command=a&command=b+c" || r.Header.Get("Authorization") != "Bearer secret" ||
			r.Header.Get("Sec-WebSocket-Protocol") != "one, two" || r.Header.Get("Sec-WebSocket-Version") != "13" || r.ProtoMajor != 1 {
			t.Errorf("%s %s: %v", r.Proto, r.URL.RequestURI(), r.Header)
		}
		switch answer {
		case "refuse":
			http.Error(w, `{"kind": "Status", "reason": "Forbidden", "message": "no"}`, http.StatusForbidden)
			return
		case "page":
			return
		}
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + answer + acceptGUID))
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
		w.Header().Set("Sec-WebSocket-Protocol", "two")
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.CopyN(conn, rw, 4)
	}))
	server.EnableHTTP2 = true
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	tls := server.Client().Transport.(*http.Transport).TLSClientConfig
	c := New(Config{Server: u, tls: tls, who: static{bearer("secret")}}, "test")
	defer c.Close()
	open := func() (io.ReadWriteCloser, string, error) {
		return c.WebSocket(t.Context(), Query{Resource: Pods, Namespace: "ns"}, "p", "exec", url.Values{"command": {"a", "b c"}}, "one", "two")
	}
	conn, protocol, err := open()
	if err != nil || protocol != "two" {
		t.Fatalf("%q, %v", protocol, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("echo")); err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(conn); string(text) != "echo" {
		t.Errorf("%q, %v", text, err)
	}
	for _, answer = range []string{"refuse", "page", "wrong"} {
		if _, _, err := open(); err == nil || !strings.Contains(err.Error(), "exec of p of the pods") || errors.Is(err, ErrForbidden) != (answer == "refuse") {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
