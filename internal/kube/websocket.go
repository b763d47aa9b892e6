package kube

import (
	"context"
	"crypto/rand"
	"crypto/sha1" // RFC 6455 has it, not for secrets
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// acceptGUID is what a server adds to the key of a handshake (RFC 6455, section 1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// WebSocket opens a connection to something below an object, such as a pod's exec, and returns it after the handshake
// (RFC 6455) with the one of the protocols that the server chose. The caller reads and writes frames, and closes. ctx
// is for the handshake alone; a Close ends a Read or Write that waits.
func (c *Client) WebSocket(ctx context.Context, q Query, name, below string, params url.Values, protocols ...string) (io.ReadWriteCloser, string, error) {
	conn, protocol, err := c.webSocket(ctx, q.Resource.path(q.Namespace, name)+"/"+below, params, protocols)
	if err != nil {
		return nil, "", fmt.Errorf("%s of %s of the %s: %w", below, name, q, err)
	}
	return conn, protocol, nil
}

func (c *Client) webSocket(ctx context.Context, path string, params url.Values, protocols []string) (io.ReadWriteCloser, string, error) {
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	text := base64.StdEncoding.EncodeToString(key)
	var answer *http.Response
	for _, fresh := range []bool{false, true} {
		r, err := c.request(ctx, path, params, fresh)
		if err != nil {
			return nil, "", err
		}
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Version", "13")
		r.Header.Set("Sec-WebSocket-Key", text)
		r.Header.Set("Sec-WebSocket-Protocol", strings.Join(protocols, ", "))
		if answer, err = c.upgrades.Do(r); err != nil {
			return nil, "", err
		}
		if answer.StatusCode != http.StatusUnauthorized || fresh {
			break
		}
		answer.Body.Close()
		c.upgrades.CloseIdleConnections() // as get does
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		defer answer.Body.Close()
		return nil, "", readStatus(answer)
	}
	conn, ok := answer.Body.(io.ReadWriteCloser)
	if !ok {
		answer.Body.Close()
		return nil, "", errors.New("the connection cannot be written to")
	}
	sum := sha1.Sum([]byte(text + acceptGUID))
	if answer.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		conn.Close()
		return nil, "", errors.New("the server answered, but not to this handshake")
	}
	return conn, answer.Header.Get("Sec-WebSocket-Protocol"), nil
}
