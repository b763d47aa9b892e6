package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"testing"
	"time"

	"stella/test/cluster"
)

// Sample is one element of a vector: the newest value of a series, or a result.
type Sample struct {
	// Labels include __name__ where the element is a series.
	Labels map[string]string
	Value  float64
}

// Query evaluates a PromQL expression, whose value must be a vector, as of now.
func (m *Monitoring) Query(ctx context.Context, promql string) ([]Sample, error) {
	body, err := m.prometheus.get(ctx, "/api/v1/query?query="+url.QueryEscape(promql))
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", promql, err)
	}
	samples, err := parseVector(body)
	if err != nil {
		return nil, fmt.Errorf("query %s: %w", promql, err)
	}
	return samples, nil
}

// Await evaluates a PromQL expression until it has a result, and returns that.
// Let the expression say what is waited for: a comparison in PromQL is a filter.
func (m *Monitoring) Await(t testing.TB, within time.Duration, promql string) []Sample {
	t.Helper()
	var samples []Sample
	cluster.Eventually(t, within, func(ctx context.Context) error {
		var err error
		if samples, err = m.Query(ctx, promql); err != nil {
			return err
		}
		if len(samples) == 0 {
			return fmt.Errorf("query %s: no result", promql)
		}
		return nil
	})
	return samples
}

// parseVector reads an answer of Prometheus' query API.
func parseVector(body []byte) ([]Sample, error) {
	var answer struct {
		Data struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if answer.Data.ResultType != "vector" {
		return nil, fmt.Errorf("it gives a %s, want a vector", answer.Data.ResultType)
	}
	var elements []struct {
		Metric map[string]string
		Value  [2]any // Unix time in seconds; the value as text, for the sake of NaN
	}
	if err := json.Unmarshal(answer.Data.Result, &elements); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	samples := make([]Sample, len(elements))
	for i, e := range elements {
		value, err := strconv.ParseFloat(fmt.Sprint(e.Value[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		samples[i] = Sample{Labels: e.Metric, Value: value}
	}
	return samples, nil
}
