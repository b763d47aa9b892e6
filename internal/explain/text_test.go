package explain_test

import (
	"encoding/json"

	"stella/internal/explain"
)

// text is a report for a log.
func text(r explain.Report) string {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}
