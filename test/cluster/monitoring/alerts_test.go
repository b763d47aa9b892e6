package monitoring

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// notify sends the inbox a notification of n alerts with a name, and returns the status of the answer.
func notify(i *inbox, name string, n int) int {
	alert := fmt.Sprintf(`{"status":"firing","labels":{"alertname":%q}}`, name)
	return post(i, `{"alerts":[`+strings.TrimSuffix(strings.Repeat(alert+",", n), ",")+`]}`)
}

func post(i *inbox, body string) int {
	answer := httptest.NewRecorder()
	i.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
	return answer.Code
}

func TestInboxIsBounded(t *testing.T) {
	i := &inbox{news: make(chan struct{})}
	if got := notify(i, "A", maxWaiting); got != http.StatusOK {
		t.Fatalf("as many as may wait: status %d", got)
	}
	if got := notify(i, "A", 1); got != http.StatusServiceUnavailable {
		t.Errorf("one more: status %d", got)
	}
	if _, ok, _ := i.take(nil); !ok {
		t.Error("what came before is lost")
	}
	if got := notify(i, "A", 1); got != http.StatusOK {
		t.Errorf("there is room again, but the status is %d", got)
	}
	if got := notify(&inbox{news: make(chan struct{})}, strings.Repeat("A", maxNotification), 1); got != http.StatusBadRequest {
		t.Errorf("a huge notification: status %d", got)
	}
	if got := post(i, "alert!"); got != http.StatusBadRequest {
		t.Errorf("not a notification: status %d", got)
	}
}

func TestAlertWaitsForItsOwn(t *testing.T) {
	m := &Monitoring{inbox: &inbox{news: make(chan struct{})}}
	notify(m.inbox, "early", 1)
	go func() {
		notify(m.inbox, "other", 2)
		notify(m.inbox, "late", 1)
	}()
	for _, name := range []string{"late", "early", "other", "other"} {
		alert := m.Alert(t, 10*time.Second, map[string]string{"alertname": name})
		if alert.Labels["alertname"] != name || alert.Received.IsZero() {
			t.Errorf("want %s, got %+v", name, alert)
		}
	}
	if rest := m.inbox.String(); rest != "" {
		t.Errorf("some are left: %s", rest)
	}
}
