package monitoring

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"stella/test/cluster"
)

const (
	// maxNotification bounds a notification in bytes: it is about one alert, whose
	// labels and annotations are a few lines of text.
	maxNotification = 1 << 20
	// maxWaiting is how many alerts may wait for a test to ask for them. A test has
	// a handful of rules, and each alert comes twice.
	maxWaiting = 1000
)

// Alert is one change of an alert, of which Alertmanager notified.
type Alert struct {
	Status      string // "firing" or "resolved"
	Labels      map[string]string
	Annotations map[string]string
	// StartsAt is when the rule's evaluation made it fire.
	StartsAt time.Time
	// Received is when this process was notified.
	Received time.Time `json:"-"`
}

// Alert waits for a notification of an alert with these labels, among others, and
// returns it. One that came earlier counts too, but each is returned only once:
// the first is of the alert firing, the next of its being resolved.
func (m *Monitoring) Alert(t testing.TB, within time.Duration, labels map[string]string) Alert {
	t.Helper()
	deadline := time.After(within)
	for {
		alert, ok, news := m.inbox.take(labels)
		if ok {
			return alert
		}
		select {
		case <-news:
		case <-deadline:
			t.Fatalf("no notification of an alert with labels %v within %v; others:\n%s", labels, within, m.inbox)
		}
	}
}

// inbox keeps alerts until they are asked for. It is Alertmanager's webhook.
type inbox struct {
	mu     sync.Mutex
	alerts []Alert       // at most maxWaiting
	news   chan struct{} // closed, and made anew, when an alert comes
}

// openInbox serves the webhook on the node until the test ends.
func openInbox(t testing.TB, c *cluster.Cluster, host host) (*inbox, error) {
	listener, err := c.Listen(host.inbox())
	if err != nil {
		return nil, err
	}
	i := &inbox{news: make(chan struct{})}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: i, ReadHeaderTimeout: answerWithin}}
	server.Start()
	t.Cleanup(server.Close)
	return i, nil
}

// ServeHTTP takes one notification. Alertmanager repeats what is answered with a
// status of 500 and above.
func (i *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var notification struct{ Alerts []Alert }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxNotification)).Decode(&notification); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest) // Alertmanager logs it
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.alerts)+len(notification.Alerts) > maxWaiting {
		http.Error(w, fmt.Sprintf("%d alerts wait for the test to ask for them", len(i.alerts)), http.StatusServiceUnavailable)
		return
	}
	for _, alert := range notification.Alerts {
		alert.Received = time.Now()
		i.alerts = append(i.alerts, alert)
	}
	close(i.news)
	i.news = make(chan struct{})
}

// take removes the oldest alert with these labels. If there is none, news will be
// closed when it is worth trying again.
func (i *inbox) take(labels map[string]string) (alert Alert, ok bool, news <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.IndexFunc(i.alerts, func(a Alert) bool {
		for name, value := range labels {
			if a.Labels[name] != value {
				return false
			}
		}
		return true
	})
	if at < 0 {
		return Alert{}, false, i.news
	}
	alert = i.alerts[at]
	i.alerts = slices.Delete(i.alerts, at, at+1)
	return alert, true, nil
}

// String lists what waits, for a person.
func (i *inbox) String() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	var b strings.Builder
	for _, a := range i.alerts {
		fmt.Fprintf(&b, "%s %v\n", a.Status, a.Labels)
	}
	return b.String()
}
