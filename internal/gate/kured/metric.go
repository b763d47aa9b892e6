package kured

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// metricName is the one metric of kured's own: 1 while it sees a wish for a reboot.
	metricName = "kured_reboot_required"
	// maxMetrics bounds what is read of kured's metrics, and maxLine one line of it, in bytes. kured 1.23 has some 10 KiB of them.
	maxMetrics = 1 << 20
	maxLine    = 64 << 10
	// settled is how long the metric may say otherwise than the file: two minutes, in each of which kured sets it, and some seconds for kured to be busy.
	settled = 130 * time.Second
	// metricTimeout bounds asking kured.
	metricTimeout = 10 * time.Second
)

// seen is what was seen of the metric and the gated file.
type seen struct {
	open bool
	// otherwise is since when they differ, zero if they do not.
	otherwise time.Time
	// blind is the process of kured that was found not to see the gated file, which is not there to be seen as long as the check blocks.
	blind string
}

// watch compares the metric with the file. It returns what that proves.
func (c *checker) watch(ctx context.Context, p *pod, port int) (string, error) {
	container, err := p.kured()
	if err != nil {
		return "", err
	}
	process := p.process(container.Name)
	if c.blind == process {
		return "", notSeen(p)
	}
	c.blind = ""
	required, err := c.metric(ctx, p, port)
	if err != nil {
		return "", cannotTell(ReasonMetric, fmt.Errorf("the metric %s of kured: %w; where it cannot be reached, use --no-kured-metric", metricName, err))
	}
	open := true
	if _, err := os.Lstat(c.Gated.Path()); errors.Is(err, fs.ErrNotExist) {
		open = false
	} else if err != nil {
		return "", cannotTell(ReasonMetric, fmt.Errorf("whether the gated file is there, as kured's metric says: %w", err))
	}
	return c.judge(required, open, p, process)
}

// judge decides what the metric means. kured learns of a change late, so that one look at a difference says nothing.
func (c *checker) judge(required, open bool, p *pod, process string) (string, error) {
	now := time.Now()
	if open != c.open || required == open {
		c.otherwise = time.Time{}
	}
	c.open = open
	if required == open {
		return fmt.Sprintf("metric (%s is %d, as the file)", metricName, number(required)), nil
	}
	if c.otherwise.IsZero() {
		c.otherwise = now
	}
	age := now.Sub(c.otherwise)
	switch {
	case open && age > settled:
		c.blind = process
		return "", notSeen(p)
	case open:
		return fmt.Sprintf("metric not yet (%s is 0; kured sets it once a minute)", metricName), nil
	case age > settled:
		return "", blocked(ReasonBypassed, "kured with the gated file as its sentinel",
			"the pod %s of kured has said for %v that it sees a wish for a reboot (%s is 1), and there is no gated file: it goes by something else, and reboots without asking the gate",
			p.Metadata.Name, age.Round(time.Second), metricName)
	}
	return "", cannotTell(ReasonUnsettled, fmt.Errorf("the pod %s of kured says that it sees a wish for a reboot, and there is no gated file: that may be from before, and is told when it has lasted for %v", p.Metadata.Name, settled))
}

func notSeen(p *pod) error {
	return blocked(ReasonNotSeen, "kured with the gated file as its sentinel, started anew",
		"the gated file was there for more than %v, and the pod %s of kured did not see it (%s was 0): it looks elsewhere, or stands still", settled, p.Metadata.Name, metricName)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// metricClient asks kured: directly, and nobody else. It keeps no connection, since hours can be between two looks.
func metricClient() *http.Client {
	return &http.Client{
		Timeout:       metricTimeout,
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: maxLine},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// metric asks a pod of kured.
func (c *checker) metric(ctx context.Context, p *pod, port int) (bool, error) {
	ip, err := netip.ParseAddr(p.Status.IP)
	if err != nil {
		return false, fmt.Errorf("the pod %s has no address yet: %w", p.Metadata.Name, err)
	}
	address := "http://" + net.JoinHostPort(ip.String(), strconv.Itoa(port)) + "/metrics"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return false, err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return false, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return false, fmt.Errorf("%s: HTTP status %s", address, answer.Status)
	}
	required, err := parseMetric(answer.Body, c.Node)
	if err != nil {
		return false, fmt.Errorf("%s: %w", address, err)
	}
	return required, nil
}

// parseMetric reads the metric of a node in Prometheus' text format, of which there has to be one.
func parseMetric(r io.Reader, node string) (required bool, err error) {
	limited := &io.LimitedReader{R: r, N: maxMetrics + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxLine)
	found := 0
	for lines.Scan() {
		rest, ok := strings.CutPrefix(strings.TrimLeft(lines.Text(), " \t"), metricName)
		if !ok || rest == "" || !strings.ContainsRune("{ \t", rune(rest[0])) {
			continue
		}
		if required, err = parseSample(rest, node); err != nil {
			return false, fmt.Errorf("the line %.200q: %w", lines.Text(), err)
		}
		found++
	}
	switch {
	case lines.Err() != nil:
		return false, lines.Err()
	case limited.N == 0:
		return false, fmt.Errorf("more than %d bytes of metrics", maxMetrics)
	case found != 1:
		return false, fmt.Errorf("it is there %d times, and should be once", found)
	}
	return required, nil
}

// parseSample reads what follows the name: labels, which name the node, and the value.
func parseSample(text, node string) (bool, error) {
	labels, rest, ok := cutLabels(text)
	if !ok {
		return false, errors.New("its labels have no end")
	}
	if want := "node=" + strconv.Quote(node); strings.TrimSuffix(strings.TrimSpace(labels), ",") != want {
		return false, fmt.Errorf("it is of {%s}, and should be of {%s}", labels, want)
	}
	words := strings.Fields(rest)
	if len(words) == 0 || len(words) > 2 { // a time may follow
		return false, errors.New("it has no value, or several")
	}
	value, err := strconv.ParseFloat(words[0], 64)
	if err != nil || value != 0 && value != 1 {
		return false, errors.New("its value is neither 0 nor 1")
	}
	return value == 1, nil
}

// cutLabels cuts {labels} off. A brace inside of quotes ends nothing.
func cutLabels(text string) (labels, rest string, ok bool) {
	text = strings.TrimLeft(text, " \t")
	if !strings.HasPrefix(text, "{") {
		return "", text, true
	}
	quoted := false
	for i := 1; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == '}' && !quoted:
			return text[1:i], text[i+1:], true
		}
	}
	return "", "", false
}
