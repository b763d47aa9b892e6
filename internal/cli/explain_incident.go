package cli

import (
	"context"
	"fmt"
	"regexp"

	"stella/internal/incident"
)

// incidentID is what the IDs of incidents look like; those of kills are shorter.
var incidentID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// explainIncident shows how an incident was explained, and reports whether there is one of that name.
func (c *explainCommand) explainIncident(ctx context.Context, id string) (ok bool, err error) {
	if !incidentID.MatchString(id) {
		return false, nil
	}
	from := incidentFlags{agent: c.agent}
	err = from.one(ctx, c.app, id, func(_ context.Context, _ keeper, d incident.Details) error {
		ok = true
		report := newestReport(&d)
		if report == nil {
			return fmt.Errorf("incident %s is not explained yet: that is done some seconds after the last kill of a burst; %s may tell by itself: stella explain %s",
				id, oneLine(d.Subject.Name), shellWord(d.Subject.Cgroup))
		}
		return c.app.show(c.format, *report, (&explanation{report, d.Updated}).write)
	})
	if !ok {
		return false, nil // it may be another thing of that name; whoever is asked for that says what is wrong
	}
	return true, err
}
