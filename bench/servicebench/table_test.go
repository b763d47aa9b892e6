package main

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	values := []int{5, 1, 4, 2, 3, 6}
	for percent, want := range map[int]int{1: 1, 50: 3, 95: 6, 100: 6} {
		if got := quantile(values, percent); got != want {
			t.Errorf("%d %%: %d, want %d", percent, got, want)
		}
	}
	if got := median([]int{7}); got != 7 {
		t.Errorf("the median of one value is %d", got)
	}
	if values[0] != 5 {
		t.Error("the values were sorted in place")
	}
}

func TestTable(t *testing.T) {
	tab := table{{"a", "b"}}
	tab.add("x", ms(1500*time.Microsecond))
	tab.add("y", share(30*time.Millisecond, 10*time.Second))
	want := "| a | b |\n|---|---|\n| x | 1.5 ms |\n| y | 3.0 ms a second |\n"
	if got := tab.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
