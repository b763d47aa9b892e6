package alerts

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"stella/internal/gate"
	"stella/internal/gate/cluster"
	"stella/internal/jsonstream"
)

// one is an alert as Prometheus writes it.
func one(name, state string, labels ...string) string {
	all := map[string]string{"alertname": name}
	for i := 0; i < len(labels); i += 2 {
		all[labels[i]] = labels[i+1]
	}
	text, _ := json.Marshal(all)
	return fmt.Sprintf(`{"labels":%s,"annotations":{"summary":"s"},"state":%q,"activeAt":"2026-05-30T03:33:00.123456789Z","value":"1e+00"}`, text, state)
}

// sent is an alert as Alertmanager writes it.
func sent(name, state string, labels ...string) string {
	text := strings.Replace(one(name, "firing", labels...), `"state":"firing","activeAt"`, `"startsAt"`, 1)
	return fmt.Sprintf(`%s,"status":{"inhibitedBy":[],"silencedBy":["x"],"state":%q},"fingerprint":"f","receivers":[{"name":"r"}]}`, text[:len(text)-1], state)
}

func prometheusAnswer(alerts ...string) string {
	return `{"status":"success","data":{"alerts":[` + strings.Join(alerts, ",") + `]}}`
}

var watchdog = one("Watchdog", "firing", "severity", "none")

// serve answers with a text.
func serve(t *testing.T, text string) string {
	return handle(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, text)
	})
}

func handle(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func run(t *testing.T, o Options) gate.Result {
	t.Helper()
	if o.Kind == "" {
		o.Kind = Prometheus
	}
	if o.Watchdog == "" {
		o.Watchdog = "Watchdog"
	}
	c, err := Check(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), c.Timeout)
	defer cancel()
	return c.Run(ctx)
}

func TestPrometheus(t *testing.T) {
	hermes := one("PVCStuckPending", "firing", "persistentvolumeclaim", "data", "namespace", "hermes")
	for name, test := range map[string]struct {
		alerts   []string
		pending  bool
		outcome  gate.Outcome
		reason   string
		detail   string
		blockers []string
	}{
		"all is well":      {alerts: []string{watchdog}, outcome: gate.Pass, detail: "no alert fires but Watchdog"},
		"nothing at all":   {outcome: gate.Unknown, reason: ReasonNoWatchdog, detail: "among 0 alerts there is no Watchdog"},
		"no watchdog":      {alerts: []string{hermes}, outcome: gate.Unknown, reason: ReasonNoWatchdog, detail: "among 1 alerts"},
		"watchdog pending": {alerts: []string{one("Watchdog", "pending")}, outcome: gate.Unknown, reason: ReasonNoWatchdog},
		"pending":          {alerts: []string{watchdog, one("A", "pending")}, outcome: gate.Pass},
		"pending counts": {alerts: []string{watchdog, one("A", "pending")}, pending: true, outcome: gate.Block, reason: ReasonFiring,
			detail: "1 firing: A pending since 2026-05-30T03:33:00Z", blockers: []string{"A pending since 2026-05-30T03:33:00Z"}},
		"one": {alerts: []string{watchdog, hermes}, outcome: gate.Block, reason: ReasonFiring, blockers: []string{
			`PVCStuckPending{namespace="hermes", persistentvolumeclaim="data"} since 2026-05-30T03:33:00Z`}},
		"many": {alerts: []string{one("G", "firing"), one("F", "firing"), one("E", "firing"), watchdog, one("D", "firing"), one("C", "firing"), one("B", "firing"), one("A", "firing")},
			outcome: gate.Block, reason: ReasonFiring, detail: "7 firing: A since 2026-05-30T03:33:00Z and 6 more", blockers: []string{
				"A since 2026-05-30T03:33:00Z", "B since 2026-05-30T03:33:00Z", "C since 2026-05-30T03:33:00Z", "D since 2026-05-30T03:33:00Z", "E since 2026-05-30T03:33:00Z"}},
		"hostile": {alerts: []string{watchdog, one("A\n\x1b[2J", "firing", "x\ny", "\x00")}, outcome: gate.Block, reason: ReasonFiring,
			blockers: []string{`"A\n\x1b[2J"{"x\ny"="\x00"} since 2026-05-30T03:33:00Z`}},
	} {
		r := run(t, Options{URL: serve(t, prometheusAnswer(test.alerts...)), Pending: test.pending})
		if r.Outcome != test.outcome || r.Reason != test.reason || !strings.Contains(r.Detail, test.detail) || !slices.Equal(r.Blockers, test.blockers) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// An alert about the gate itself does not keep it shut: the one that says that a node waits would have it wait for ever.
func TestOwnAlerts(t *testing.T) {
	own := one("KuredRebootBacklog", "firing", OwnLabel, OwnValue)
	r := run(t, Options{URL: serve(t, prometheusAnswer(watchdog, own))})
	if r.Outcome != gate.Pass || !strings.Contains(r.Detail, "1 about the gate itself") {
		t.Errorf("%+v", r)
	}
	r = run(t, Options{URL: serve(t, prometheusAnswer(watchdog, own, one("Other", "firing", OwnLabel, "x")))})
	if r.Outcome != gate.Block || len(r.Blockers) != 1 || !strings.Contains(r.Blockers[0], "Other") {
		t.Errorf("%+v", r)
	}
}

func TestAlertmanager(t *testing.T) {
	dog := sent("Watchdog", "active")
	for name, test := range map[string]struct {
		alerts  []string
		outcome gate.Outcome
		detail  string
	}{
		"all is well":        {[]string{dog}, gate.Pass, "no alert fires but Watchdog"},
		"suppressed":         {[]string{dog, sent("A", "suppressed"), sent("B", "suppressed")}, gate.Pass, "no alert fires but Watchdog; 2 silenced or inhibited"},
		"active":             {[]string{sent("A", "active", "node", "n"), dog}, gate.Block, `1 firing: A{node="n"} since 2026-05-30T03:33:00Z`},
		"new":                {[]string{sent("A", "unprocessed"), dog}, gate.Block, "1 firing: A"},
		"a silent watchdog":  {[]string{sent("Watchdog", "suppressed")}, gate.Pass, "no alert fires"},
		"nobody sends to it": {nil, gate.Unknown, "no Watchdog"},
		"another state":      {[]string{dog, sent("A", "resting")}, gate.Unknown, `alert 2: it is "resting"`},
	} {
		r := run(t, Options{Kind: Alertmanager, URL: serve(t, "["+strings.Join(test.alerts, ",")+"]")})
		if r.Outcome != test.outcome || !strings.Contains(r.Detail, test.detail) {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestIgnored(t *testing.T) {
	until := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	rules := file(t, fmt.Sprintf(`ignore:
- {matchers: ['alertname="PVCStuckPending"', 'namespace=~"hermes.*"'], until: %s, reason: parked, by: ann}
- {matchers: ['alertname="NodeFilesystemFull"'], until: 2026-01-01T00:00:00Z, reason: old, by: bob}
`, until))
	hermes, other := one("PVCStuckPending", "firing", "namespace", "hermes-agent"), one("PVCStuckPending", "firing", "namespace", "shop")
	r := run(t, Options{URL: serve(t, prometheusAnswer(watchdog, hermes, hermes)), IgnoreFile: rules})
	want := "2 firing, all ignored; PVCStuckPending and 1 more ignored by rule 1 until " + until + " (parked, by ann); 1 rule lapsed on 2026-01-01T00:00:00Z"
	if r.Outcome != gate.Pass || r.Detail != want {
		t.Errorf("ignored: %+v; want %s", r, want)
	}
	r = run(t, Options{URL: serve(t, prometheusAnswer(watchdog, hermes, other, one("NodeFilesystemFull", "firing"))), IgnoreFile: rules})
	if r.Outcome != gate.Block || len(r.Blockers) != 2 || !strings.Contains(r.Clears, rules) || !strings.HasPrefix(r.Detail, "2 firing: NodeFilesystemFull since") {
		t.Errorf("the rest: %+v", r)
	}
	r = run(t, Options{URL: serve(t, prometheusAnswer(watchdog)), IgnoreFile: file(t, "ignored: []")})
	if r.Outcome != gate.Unknown || r.Reason != ReasonRules || !strings.Contains(r.Detail, "line 1") {
		t.Errorf("a broken file: %+v", r)
	}
	r = run(t, Options{URL: serve(t, prometheusAnswer(watchdog)), IgnoreFile: rules + ".gone"})
	if r.Outcome != gate.Unknown || r.Reason != ReasonRules {
		t.Errorf("no file: %+v", r)
	}
}

// Nothing but a whole answer passes, however near it comes.
func TestFaults(t *testing.T) {
	well := prometheusAnswer(watchdog)
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, s)
		}
	}
	code := func(n int, s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(n)
			io.WriteString(w, s)
		}
	}
	change := func(old, new string) http.HandlerFunc {
		if !strings.Contains(well, old) {
			t.Fatalf("there is no %s", old)
		}
		return text(strings.Replace(well, old, new, 1))
	}
	header := func(name, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set(name, value)
			io.WriteString(w, well)
		}
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		reason string
	}{
		"400":                {code(400, `{"status":"error","error":"bad"}`), cluster.ReasonBadAnswer},
		"401":                {code(401, ""), cluster.ReasonUnauthorized},
		"403":                {code(403, ""), cluster.ReasonForbidden},
		"404":                {code(404, "<html>"), cluster.ReasonNotFound},
		"429":                {code(429, ""), cluster.ReasonThrottled},
		"500":                {code(500, `{"status":"error","error":"it is ill"}`), cluster.ReasonServerError},
		"503 and all well":   {code(503, well), cluster.ReasonServerError},
		"204":                {code(204, ""), cluster.ReasonBadAnswer},
		"redirect":           {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, cluster.ReasonRedirected},
		"cut off":            {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, cluster.ReasonUnreachable},
		"empty":              {text(""), cluster.ReasonBadAnswer},
		"object":             {text("{}"), cluster.ReasonBadAnswer},
		"null":               {text("null"), cluster.ReasonBadAnswer},
		"array":              {text("[]"), cluster.ReasonBadAnswer},
		"html":               {header("Content-Type", "text/html"), cluster.ReasonBadAnswer},
		"no type":            {header("Content-Type", ""), cluster.ReasonBadAnswer},
		"packed":             {header("Content-Encoding", "gzip"), cluster.ReasonBadAnswer},
		"too short":          {text(well[:len(well)-1]), cluster.ReasonBadAnswer},
		"shorter than said":  {header("Content-Length", fmt.Sprint(len(well)+1)), cluster.ReasonBadAnswer},
		"something after":    {text(well + "{}"), cluster.ReasonBadAnswer},
		"error":              {change("success", "error"), cluster.ReasonBadAnswer},
		"no status":          {change(`"status":"success",`, ""), cluster.ReasonBadAnswer},
		"two":                {change(`"status":"success",`, `"status":"error","status":"success",`), cluster.ReasonBadAnswer},
		"no data":            {change(`"data"`, `"date"`), cluster.ReasonBadAnswer},
		"no alerts":          {change(`"alerts"`, `"alarms"`), cluster.ReasonBadAnswer},
		"null alerts":        {text(`{"status":"success","data":{"alerts":null}}`), cluster.ReasonBadAnswer},
		"a query's answer":   {text(`{"status":"success","data":{"resultType":"vector","result":[]}}`), cluster.ReasonBadAnswer},
		"alerts twice":       {change(`{"alerts":[`, `{"alerts":[],"alerts":[`), cluster.ReasonBadAnswer},
		"warnings":           {change(`"status"`, `"warnings":["a part is missing"],"status"`), cluster.ReasonBadAnswer},
		"warnings as text":   {change(`"status"`, `"warnings":"a part is missing","status"`), cluster.ReasonBadAnswer},
		"null alert":         {change("[{", "[null,{"), cluster.ReasonBadAnswer},
		"no labels":          {change("[{", `[{"state":"firing","activeAt":"2026-05-30T03:33:00Z"},{`), cluster.ReasonBadAnswer},
		"no state":           {change("[{", `[{"labels":{"a":"b"},"activeAt":"2026-05-30T03:33:00Z"},{`), cluster.ReasonBadAnswer},
		"no time":            {change("[{", `[{"labels":{"a":"b"},"state":"pending"},{`), cluster.ReasonBadAnswer},
		"another state":      {change("[{", "["+one("A", "inactive")+",{"), cluster.ReasonBadAnswer},
		"another time":       {change("2026-05-30T", "yesterday"), cluster.ReasonBadAnswer},
		"a label twice":      {change(`{"alertname"`, `{"alertname":"A","alertname"`), cluster.ReasonBadAnswer},
		"a label's type":     {change(`{"alertname"`, `{"n":1,"alertname"`), cluster.ReasonBadAnswer},
		"a huge label":       {change(`{"alertname"`, `{"n":"`+strings.Repeat("x", jsonstream.MaxString+1)+`","alertname"`), cluster.ReasonTooLarge},
		"a huge name":        {change(`{"alertname"`, `{"`+strings.Repeat("x", jsonstream.MaxString+1)+`":"n","alertname"`), cluster.ReasonTooLarge},
		"many labels":        {change(`{"alertname"`, `{`+manyLabels()+`"alertname"`), cluster.ReasonTooLarge},
		"another's":          {text("[" + sent("Watchdog", "active") + "]"), cluster.ReasonBadAnswer},
		"huge":               {huge, cluster.ReasonTooLarge},
		"a long description": {change(`"summary":"s"`, `"summary":"`+strings.Repeat("x", 1<<20)+`"`), ""},
		"well":               {text(well), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, Options{URL: handle(t, test.answer)})
			if want := map[bool]gate.Outcome{true: gate.Pass, false: gate.Unknown}[test.reason == ""]; r.Outcome != want || r.Reason != test.reason {
				t.Errorf("%+v; want %s %s", r, want, test.reason)
			}
		})
	}
	if r := run(t, Options{URL: "http://127.0.0.1:1"}); r.Outcome != gate.Unknown || r.Reason != cluster.ReasonUnreachable {
		t.Errorf("refused: %+v", r)
	}
	if r := run(t, Options{URL: serve(t, prometheusAnswer(watchdog)), Kind: Alertmanager}); r.Outcome != gate.Unknown || r.Reason != cluster.ReasonBadAnswer {
		t.Errorf("another's: %+v", r)
	}
}

func manyLabels() string {
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, `"l%d":"%s",`, i, strings.Repeat("x", 10<<10))
	}
	return b.String()
}

// huge is all well, for ever.
func huge(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"status":"success","data":{"alerts":[`+watchdog)
	for more := strings.Repeat(","+one("A", "pending"), 1000); ; {
		if _, err := io.WriteString(w, more); err != nil {
			return
		}
	}
}

// An answer that does not come, or does not end, ends with the check's time.
func TestSlow(t *testing.T) {
	for name, start := range map[string]string{"no header": "", "half an answer": `{"status":"success","data":{"alerts":[` + watchdog} {
		url := handle(t, func(w http.ResponseWriter, r *http.Request) {
			if start != "" {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, start)
				w.(http.Flusher).Flush()
			}
			<-r.Context().Done()
		})
		c, err := Check(Options{Kind: Prometheus, URL: url, Watchdog: "Watchdog"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		r := c.Run(ctx)
		cancel()
		if r.Outcome != gate.Unknown || r.Reason != cluster.ReasonTimeout {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// The token goes to the named server, by the certificates of the file, and nowhere else; each look reads it.
func TestCredentials(t *testing.T) {
	var got, path string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, path = r.Header.Get("Authorization"), r.URL.Path
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		io.WriteString(w, prometheusAnswer(watchdog))
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of a handshake that is to fail
	s.StartTLS()
	t.Cleanup(s.Close)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	token := file(t, "first\n")
	o := Options{Kind: Prometheus, URL: s.URL + "/prefix/", TokenFile: token, CAFile: ca, Watchdog: "Watchdog"}
	c, err := Check(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(token, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := c.Run(t.Context()); r.Outcome != gate.Pass || got != "Bearer "+want || path != "/prefix/api/v1/alerts" {
			t.Errorf("%+v; it was asked %s with %q", r, path, got)
		}
	}
	for name, change := range map[string]func(*Options){
		"an empty token":  func(o *Options) { o.TokenFile = file(t, " \n") },
		"no token":        func(o *Options) { o.TokenFile = token + ".gone" },
		"no certificates": func(o *Options) { o.CAFile = ca + ".gone" },
		"no PEM":          func(o *Options) { o.CAFile = token },
	} {
		o := o
		change(&o)
		if r := run(t, o); r.Outcome != gate.Unknown || r.Reason != ReasonCredentials {
			t.Errorf("%s: %+v", name, r)
		}
	}
	o.CAFile = ""
	if r := run(t, o); r.Outcome != gate.Unknown || r.Reason != cluster.ReasonUnreachable {
		t.Errorf("a server that nobody vouches for: %+v", r)
	}
}

func TestOptions(t *testing.T) {
	good := Options{Kind: Prometheus, URL: "https://prometheus:9090/p", Watchdog: "Watchdog"}
	if _, err := Check(good); err != nil {
		t.Error(err)
	}
	for says, change := range map[string]func(*Options){
		"prometheus or alertmanager": func(o *Options) { o.Kind = "nagios" },
		"always fires":               func(o *Options) { o.Watchdog = "" },
		"no address":                 func(o *Options) { o.URL = "prometheus:9090" },
		"no address like":            func(o *Options) { o.URL = "https://prometheus/?a=b" },
		"a password":                 func(o *Options) { o.URL = "https://u:secret@prometheus" },
		"in the clear":               func(o *Options) { o.URL, o.TokenFile = "http://prometheus", "token" },
		"missing ']'":                func(o *Options) { o.URL = "http://u:secret@[::1" },
	} {
		o := good
		change(&o)
		if _, err := Check(o); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%+v: %v; want %q", o, err, says)
		}
	}
}

// FuzzPrometheus holds what passes against another reading of the same answer.
func FuzzPrometheus(f *testing.F) {
	f.Add(prometheusAnswer(watchdog))
	f.Add(prometheusAnswer(watchdog, one("A", "firing"), one("B", "pending")))
	f.Add(`{"data":{"alerts":[` + watchdog + `]},"status":"success","warnings":[]}`)
	f.Fuzz(func(t *testing.T, text string) {
		if fuzzed(t, Options{Kind: Prometheus, Watchdog: "Watchdog"}, text) != gate.Pass {
			return
		}
		var answer struct {
			Status string
			Data   struct{ Alerts []map[string]any }
		}
		if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "\ufeff")), &answer); err != nil || answer.Status != "success" {
			t.Fatalf("%s passed: %v", text, err)
		}
		well(t, answer.Data.Alerts, func(a map[string]any) bool { return a["state"] == "firing" }, text)
	})
}

func FuzzAlertmanager(f *testing.F) {
	f.Add("[" + sent("Watchdog", "active") + "]")
	f.Add("[" + sent("Watchdog", "active") + "," + sent("A", "suppressed") + "," + sent("B", "active") + "]")
	f.Fuzz(func(t *testing.T, text string) {
		if fuzzed(t, Options{Kind: Alertmanager, Watchdog: "Watchdog"}, text) != gate.Pass {
			return
		}
		var alerts []map[string]any
		if err := json.Unmarshal([]byte(strings.TrimPrefix(text, "\ufeff")), &alerts); err != nil {
			t.Fatalf("%s passed: %v", text, err)
		}
		well(t, alerts, func(a map[string]any) bool { return a["status"].(map[string]any)["state"] != "suppressed" }, text)
	})
}

// well fails unless the watchdog is the only one that fires.
func well(t *testing.T, alerts []map[string]any, fires func(map[string]any) bool, text string) {
	t.Helper()
	dogs := 0
	for _, a := range alerts {
		if a["labels"].(map[string]any)["alertname"] == "Watchdog" {
			dogs++
		} else if fires(a) {
			t.Fatalf("%s passed", text)
		}
	}
	if dogs == 0 {
		t.Fatalf("%s passed", text)
	}
}

// fuzzed is the outcome of an answer.
func fuzzed(t *testing.T, o Options, text string) gate.Outcome {
	tally := newTally(o, nil, now)
	err := jsonstream.Decode(t.Context(), strings.NewReader(text), func(d *jsonstream.Decoder) error { return read(d, o.Kind, tally.add) })
	if err != nil {
		return gate.Unknown
	}
	return tally.result().Outcome
}

// An answer of 5,000 alerts with long descriptions takes no more memory than one of 50.
func TestMemory(t *testing.T) {
	labels := []string{"namespace", "hermes", "severity", "warning", "instance", "10.0.0.1:9100", "job", "node-exporter", "cluster", "production", "pod", "p", "container", "c", "prometheus", "monitoring/k8s"}
	peak := func(n int) uint64 {
		tally := newTally(Options{Kind: Prometheus, Watchdog: "Watchdog"}, nil, now)
		r, w := io.Pipe()
		go func() {
			io.WriteString(w, `{"status":"success","data":{"alerts":[`+watchdog)
			for i := range n {
				text := one(fmt.Sprintf("A%d", i), "firing", labels...)
				io.WriteString(w, ","+strings.Replace(text, `"summary":"s"`, `"summary":"`+strings.Repeat("why ", 500)+`"`, 1))
			}
			io.WriteString(w, "]}}")
			w.Close()
		}()
		var most uint64
		add := func(a *alert) {
			if tally.add(a); tally.all%(n/10) == 0 {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
		if err := jsonstream.Decode(t.Context(), r, func(d *jsonstream.Decoder) error { return read(d, Prometheus, add) }); err != nil {
			t.Fatal(err)
		}
		if r := tally.result(); r.Outcome != gate.Block || tally.blocking != n {
			t.Fatalf("%+v", r)
		}
		return most
	}
	few, many := peak(50), peak(5000)
	t.Logf("%d KiB of heap with 50 alerts, %d KiB with 5,000", few>>10, many>>10)
	if many > few+256<<10 {
		t.Errorf("%d bytes more with 5,000 alerts", many-few)
	}
}
