package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// minSecret is below what cannot be guessed, in bytes.
	minSecret = 16
	// maxSecrets bounds the file of secrets, in bytes.
	maxSecrets = 4 << 10
)

// Tolerance is how old a signature may be for [Verify]: clocks differ, and who records a request must not be able to
// repeat it later.
const Tolerance = 5 * time.Minute

// Sign returns the value of the header Stella-Signature: the time, and for each secret the HMAC-SHA256 of the time as
// it is written there, a dot, and the body.
func Sign(secrets [][]byte, at time.Time, body []byte) string {
	stamp := strconv.FormatInt(at.Unix(), 10)
	text := "t=" + stamp
	for _, secret := range secrets {
		text += ",v1=" + hex.EncodeToString(sum(secret, stamp, body))
	}
	return text
}

func sum(secret []byte, stamp string, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	io.WriteString(h, stamp)
	io.WriteString(h, ".")
	h.Write(body)
	return h.Sum(nil)
}

// ErrSignature is the error of a message that is not from who has the secret, or is not of now.
var ErrSignature = errors.New("the webhook's signature is not right")

// Verify is for receivers: it checks the value of the header Stella-Signature against the body as it came.
func Verify(secret []byte, header string, body []byte, now time.Time) error {
	var stamp string
	var sums []string
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "t":
			stamp = value
		case "v1":
			sums = append(sums, value)
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("%w: it has no time", ErrSignature)
	}
	want := sum(secret, stamp, body)
	for _, text := range sums {
		got, err := hex.DecodeString(text)
		if err != nil || !hmac.Equal(got, want) {
			continue
		}
		if age := now.Sub(time.Unix(seconds, 0)).Abs(); age > Tolerance {
			return fmt.Errorf("%w: it is of %v ago", ErrSignature, age)
		}
		return nil
	}
	return fmt.Errorf("%w: none of its %d sums fits", ErrSignature, len(sums))
}

// readSecrets reads the lines of a file.
func readSecrets(name string) ([][]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("secret that webhooks are signed with: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecrets+1))
	if err != nil {
		return nil, fmt.Errorf("secret that webhooks are signed with: %w", err)
	}
	if len(text) > maxSecrets {
		return nil, fmt.Errorf("secret that webhooks are signed with: %s has more than %d bytes", name, maxSecrets)
	}
	var secrets [][]byte
	for line := range strings.Lines(string(text)) {
		secret := strings.TrimSpace(line)
		if secret == "" {
			continue
		}
		if len(secret) < minSecret {
			return nil, fmt.Errorf("secret that webhooks are signed with: a line of %s has %d bytes; at least %d, such as: openssl rand -hex 32", name, len(secret), minSecret)
		}
		secrets = append(secrets, []byte(secret))
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("secret that webhooks are signed with: %s is empty; make one with: openssl rand -hex 32 >%s", name, name)
	}
	return secrets, nil
}
