package webhook_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/webhook"
	"stella/internal/store"
)

const waiting = `SELECT count(*) FROM webhook_deliveries`

func TestDelivery(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		e.start()
		e.add(e.url, command(1))
		r, body, m := e.receives()
		if m.Event != webhook.EventEnded || m.Command.ID != command(1).ID || m.Command.End.ExitCode != 2 || m.Command.Request.Argv[0] != "make" {
			t.Errorf("message %s", body)
		}
		if r.Method != http.MethodPost || r.Header.Get("Stella-Event") != webhook.EventEnded || r.Header.Get("Stella-Delivery") == "" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		if err := webhook.Verify([]byte(secret), r.Header.Get("Stella-Signature"), body, time.Now()); err != nil {
			t.Error(err)
		}
		e.until(0, waiting)
		e.expect(webhook.Delivered)
	})
}

// What was not kept is not sent, and what waits is sent by the next process.
func TestTransactions(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		stop := e.start()
		stop()
		nope := errors.New("no")
		err := e.o.DB.Write(t.Context(), func(tx *store.Tx) error {
			return errors.Join(e.s.Add(t.Context(), tx, e.url, command(1)), nope)
		})
		if !errors.Is(err, nope) {
			t.Fatal(err)
		}
		e.add(e.url, command(2))
		e.start()
		if _, _, m := e.receives(); m.Command.ID != command(2).ID {
			t.Errorf("received %s", m.Command.ID)
		}
		e.until(0, waiting)
	})
}

// A failure is tried again later, with the same body; then it is settled.
func TestRetry(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		e.set(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1000")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		e.start()
		began := time.Now()
		e.add(e.url, command(1))
		first, body, _ := e.receives()
		e.until(1, `SELECT tries FROM webhook_deliveries`)
		if wait := time.UnixMicro(e.row(`SELECT due FROM webhook_deliveries`)).Sub(began); wait < 999*time.Second || wait > 1100*time.Second {
			t.Errorf("tried again in %v", wait)
		}
		e.set(nil)
		e.exec(`UPDATE webhook_deliveries SET due = 0`)
		e.s.Wake()
		second, again, _ := e.receives()
		if string(again) != string(body) || first.Header.Get("Stella-Delivery") != second.Header.Get("Stella-Delivery") {
			t.Errorf("the second try has %s of %v", again, second.Header)
		}
		e.until(0, waiting)
		e.until(0, `SELECT count(*) FROM webhook_hosts`)
		e.expect(webhook.Failed, webhook.Delivered)
	})
}

func TestGivenUp(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		e.start()
		e.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
		e.add(e.url, command(1))
		e.receives()
		e.until(0, waiting)
		e.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		e.add(e.url, command(2))
		e.receives()
		e.until(1, `SELECT tries FROM webhook_deliveries`)
		e.exec(`UPDATE webhook_deliveries SET due = 0, created = $1`, time.Now().Add(-25*time.Hour).UnixMicro())
		e.s.Wake()
		e.receives()
		e.until(0, waiting)
		e.until(0, `SELECT count(*) FROM webhook_hosts`) // nothing is left for it
		e.expect(webhook.GivenUp, webhook.Failed, webhook.GivenUp)
	})
}

// A host that fails again and again gets nothing for a while, then one delivery, and what works again gets all. Others
// are not held back.
func TestCircuit(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		well := httptest.NewServer(http.HandlerFunc(e.receive))
		defer well.Close()
		e.set(func(w http.ResponseWriter, r *http.Request) {
			if "http://"+r.Host != well.URL {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		e.start()
		for i := range 10 {
			e.add(e.url, command(i))
		}
		for range 5 {
			e.receives()
		}
		e.until(5, `SELECT count(*) FROM webhook_deliveries WHERE tries = 1`)
		e.until(1, `SELECT count(*) FROM webhook_hosts WHERE failures = 5 AND closed > $1`, time.Now().Add(20*time.Second).UnixMicro())
		e.add(well.URL, command(100))
		if _, _, m := e.receives(); m.Command.ID != command(100).ID {
			t.Errorf("%s was sent to a host whose circuit is open", m.Command.ID)
		}
		again := func() {
			e.exec(`UPDATE webhook_hosts SET closed = 0`)
			e.s.Wake()
		}
		again()
		e.receives()
		e.until(1, `SELECT count(*) FROM webhook_hosts WHERE failures = 6 AND closed > $1`, time.Now().Add(40*time.Second).UnixMicro())
		if len(e.got) > 0 {
			t.Error("more than one tried whether the host works again")
		}
		e.set(nil)
		e.exec(`UPDATE webhook_deliveries SET due = 0`)
		again()
		for range 10 {
			e.receives()
		}
		e.until(0, waiting)
		e.until(0, `SELECT count(*) FROM webhook_hosts`)
	})
}

// The queue is bounded: the newest are kept.
func TestBounded(t *testing.T) {
	onEach(t, func(t *testing.T, e *env) {
		e.start()()
		err := e.o.DB.Write(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(t.Context(), `INSERT INTO webhook_deliveries (url, host, body, created, due, tries)
				WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) SELECT 'u', 'h', '', 0, 0, 0 FROM n`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		first := e.row(`SELECT min(id) FROM webhook_deliveries`)
		for i := range 3 {
			e.add(e.url, command(i))
		}
		if n := e.row(waiting); n != 10_000 {
			t.Errorf("%d wait", n)
		}
		if oldest := e.row(`SELECT min(id) FROM webhook_deliveries`); oldest != first+2 {
			t.Errorf("the oldest is %d, it was %d", oldest, first)
		}
		e.expect(webhook.GivenUp, webhook.GivenUp)
	})
}

// A long request is not sent, its end is.
func TestLongRequest(t *testing.T) {
	e := newEnv(t, "sqlite:"+t.TempDir()+"/hooks.db")
	e.start()
	c := command(1)
	c.Request.Shell = strings.Repeat("x", 100_000)
	e.add(e.url, c)
	_, body, m := e.receives()
	if len(body) > 8<<10 || m.Command.End == nil || m.Command.Request.Shell != "" {
		t.Errorf("a message of %d bytes: %.200s", len(body), body)
	}
}

func TestNoRedirect(t *testing.T) {
	e := newEnv(t, "sqlite:"+t.TempDir()+"/hooks.db")
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer other.Close()
	e.set(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	e.start()
	e.add(e.url, command(1))
	e.receives()
	e.until(1, `SELECT tries FROM webhook_deliveries`)
}

// An answer without an end, in its headers or its body, takes no memory and little time.
func TestEndlessAnswer(t *testing.T) {
	e := newEnv(t, "sqlite:"+t.TempDir()+"/hooks.db")
	e.set(func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < 1<<20; i++ {
			if _, err := fmt.Fprint(w, strings.Repeat("x", 1024)); err != nil {
				return
			}
		}
		t.Error("all of a GiB was read")
	})
	e.start()
	e.add(e.url, command(1))
	e.until(0, waiting)
	e.receives()
	e.set(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 1<<20)) })
	e.add(e.url, command(2))
	e.receives()
	e.until(1, `SELECT tries FROM webhook_deliveries`)
}

// Names that lead to this machine are found out when a connection is made.
func TestNameOfThisMachine(t *testing.T) {
	e := newEnv(t, "sqlite:"+t.TempDir()+"/hooks.db")
	e.o.Allow, e.o.AllowPlain = nil, true
	e.start()
	u, err := url.Parse(e.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0", "[::1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"} {
		e.add("http://"+host+":"+u.Port()+"/", command(1)) // as if Check had not been there
		e.until(1, `SELECT count(*) FROM webhook_deliveries WHERE tries = 1`)
		e.exec(`DELETE FROM webhook_deliveries`)
		e.exec(`DELETE FROM webhook_hosts`)
		if len(e.got) > 0 {
			t.Errorf("%s was called", host)
			e.receives()
		}
	}
}

func TestCheck(t *testing.T) {
	private := netip.MustParsePrefix("10.1.0.0/16")
	for text, want := range map[string][3]bool{ // by default; with AllowPlain; with 10.1.0.0/16 allowed
		"https://example.com/hook":       {true, true, true},
		"https://8.8.8.8/":               {true, true, true},
		"http://8.8.8.8/":                {false, true, false},
		"http://example.com/":            {false, true, true}, // with a network allowed, its address decides
		"https://10.1.2.3/":              {false, false, true},
		"http://10.1.2.3/":               {false, false, true},
		"https://10.2.2.3/":              {false, false, false},
		"https://[::ffff:10.2.2.3]/":     {false, false, false},
		"https://[::ffff:10.1.2.3]/":     {false, false, true},
		"https://127.0.0.1/":             {false, false, false},
		"https://169.254.169.254/latest": {false, false, false},
		"https://[fe80::1%25eth0]/":      {false, false, false},
		"https://[fd00:ec2::254]/":       {false, false, false},
		"https://[2002:7f00:1::]/":       {false, false, false},
		"https://[2606:4700::1111]/":     {true, true, true},
		"https://100.64.0.1/":            {false, false, false},
		"https://0.0.0.0/":               {false, false, false},
		"ftp://example.com/":             {false, false, false},
		"https:///hook":                  {false, false, false},
		"//example.com":                  {false, false, false},
	} {
		for i, change := range []func(*webhook.Options){func(*webhook.Options) {}, func(o *webhook.Options) { o.AllowPlain = true }, func(o *webhook.Options) { o.Allow = []netip.Prefix{private} }} {
			s := checker(t, change)
			err := s.Check(text)
			if (err == nil) != want[i] || err != nil && !errors.Is(err, rdev.ErrInvalid) {
				t.Errorf("%s, options %d: %v", text, i, err)
			}
		}
	}
}

func checker(t *testing.T, change func(*webhook.Options)) *webhook.Sender {
	t.Helper()
	o := webhook.Options{}
	change(&o)
	return webhook.OnlyChecks(o)
}

func TestSignature(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	body := []byte(`{"a":1}`)
	// Made with: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
	const known = "t=1700000000,v1=f05f2539e3ae1c49aec5f8cfdad75ef6b06480b133973ffbb7ec9e18827af177"
	if got := webhook.Sign([][]byte{[]byte(secret)}, now, body); got != known {
		t.Errorf("signed %s, want %s", got, known)
	}
	two := webhook.Sign([][]byte{[]byte("another secret, just as long"), []byte(secret)}, now, body)
	for what, test := range map[string]struct {
		header string
		body   string
		now    time.Time
		ok     bool
	}{
		"right":         {known, string(body), now.Add(time.Minute), true},
		"second secret": {two, string(body), now, true},
		"other body":    {known, `{"a":2}`, now, false},
		"old":           {known, string(body), now.Add(6 * time.Minute), false},
		"future":        {known, string(body), now.Add(-6 * time.Minute), false},
		"other time":    {strings.Replace(known, "t=1700000000", "t=1700000001", 1), string(body), now, false},
		"no time":       {strings.TrimPrefix(known, "t=1700000000,"), string(body), now, false},
		"no sum":        {"t=1700000000", string(body), now, false},
		"empty sum":     {"t=1700000000,v1=", string(body), now, false},
		"empty":         {"", string(body), now, false},
	} {
		err := webhook.Verify([]byte(secret), test.header, []byte(test.body), test.now)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, webhook.ErrSignature) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSecretFile(t *testing.T) {
	e := newEnv(t, "sqlite:"+t.TempDir()+"/hooks.db")
	for content, want := range map[string]string{"": "is empty", "short\n": "at least 16", strings.Repeat("x", 5000): "more than 4096"} {
		if err := os.WriteFile(e.o.SecretFile, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := webhook.Open(t.Context(), e.o); err == nil || !strings.Contains(err.Error(), want) || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%.20q: %v", content, err)
		}
	}
	other := "another secret, just as long"
	if err := os.WriteFile(e.o.SecretFile, []byte(secret+"\n\n"+other+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.start()
	e.add(e.url, command(1))
	r, body, _ := e.receives()
	for _, s := range []string{secret, other} {
		if err := webhook.Verify([]byte(s), r.Header.Get("Stella-Signature"), body, time.Now()); err != nil {
			t.Error(err)
		}
	}
}
