package monitoring

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseVector(t *testing.T) {
	answer := `{"status":"success","data":{"resultType":"vector","result":[
		{"metric":{"__name__":"up","job":"kubelet"},"value":[1700000000.123,"1"]},
		{"metric":{},"value":[1700000000.123,"NaN"]}]}}`
	got, err := parseVector([]byte(answer))
	const want = "[{map[__name__:up job:kubelet] 1} {map[] NaN}]"
	if err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	for answer, want := range map[string]string{
		`{"data":{"resultType":"scalar","result":[1700000000,"1"]}}`:                     "gives a scalar, want a vector",
		`{"data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"much"]}]}}`: `parsing "much"`,
		`<html>`: "read the answer",
	} {
		if got, err := parseVector([]byte(answer)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want an error with %q", answer, got, err, want)
		}
	}
}
