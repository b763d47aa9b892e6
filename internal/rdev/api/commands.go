package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"stella/internal/rdev"
	"stella/internal/rdev/keys"
	"stella/internal/rdev/projects"
)

// usualPage is how many commands or entries are listed where nobody says how many.
const usualPage = 100

func (a *API) listProjects(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	list := rdev.ProjectList{Projects: []rdev.Project{}}
	all, err := a.Projects.List(r.Context())
	if err != nil {
		list.Problem = err.Error()
	}
	for _, p := range all {
		if id.May(p.Name) {
			list.Projects = append(list.Projects, p)
		}
	}
	return reply(w, http.StatusOK, list)
}

func (a *API) project(w http.ResponseWriter, r *http.Request, _ keys.Identity) error {
	name := r.PathValue("project")
	p, err := a.Projects.Get(r.Context(), name)
	switch {
	case errors.Is(err, projects.ErrNotFound):
		return rdev.Errorf(rdev.ErrNotFound, "there is no project %s", name)
	case err != nil:
		return rdev.Errorf(rdev.ErrUnavailable, "project %s: %w", name, err)
	}
	return reply(w, http.StatusOK, p)
}

func (a *API) submit(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	var request rdev.Request
	if err := a.read(w, r, rdev.MaxRequest, &request); err != nil {
		return err
	}
	project := r.PathValue("project")
	c, existed, err := a.Service.Submit(r.Context(), id.Caller, project, request, r.Header.Get("Idempotency-Key"))
	if err != nil {
		return err
	}
	w.Header().Set("Location", fmt.Sprintf("/v1/projects/%s/commands/%s", url.PathEscape(c.Project), url.PathEscape(c.ID)))
	if existed {
		return reply(w, http.StatusOK, c)
	}
	line := request.Shell
	if line == "" {
		line = strings.Join(request.Argv, " ")
	}
	a.Audit.Add(r.Context(), rdev.AuditEntry{By: id.Name, From: id.From, Action: rdev.ActionRun, Project: project, Command: c.ID, Detail: line})
	return reply(w, http.StatusAccepted, c)
}

func (a *API) command(w http.ResponseWriter, r *http.Request, _ keys.Identity) error {
	c, err := a.Service.Command(r.Context(), r.PathValue("project"), r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, c)
}

func (a *API) cancel(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	project := r.PathValue("project")
	c, err := a.Service.Cancel(r.Context(), id.Caller, project, r.PathValue("id"))
	if err != nil {
		return err
	}
	a.Audit.Add(r.Context(), rdev.AuditEntry{By: id.Name, From: id.From, Action: rdev.ActionCancel, Project: project, Command: c.ID})
	if c.Status == rdev.Ended {
		return reply(w, http.StatusOK, c)
	}
	return reply(w, http.StatusAccepted, c)
}

func (a *API) commands(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	q := r.URL.Query()
	f := rdev.Filter{Project: r.PathValue("project"), Status: rdev.Status(q.Get("status")), By: q.Get("by"), After: q.Get("after")}
	if f.Project == "" && len(id.Projects) > 0 {
		return rdev.Errorf(rdev.ErrDenied, "%s is for some projects only: ask for /v1/projects/NAME/commands", id.Name)
	}
	if s := q.Get("since"); s != "" {
		var err error
		if f.Since, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return unreadable("since: %.40q is no time as in RFC 3339, such as 2026-11-21T03:33:00Z", s)
		}
	}
	limit, err := number(q, "limit", 1, rdev.MaxPage, usualPage)
	if err != nil {
		return err
	}
	f.Limit = int(limit)
	list, err := a.Service.Commands(r.Context(), f)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, list)
}

// number reads a parameter; usual is its value where it is not there.
func number(q url.Values, name string, least, most, usual int64) (int64, error) {
	text := q.Get(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		return 0, unreadable("%s: %.40q is no number from %d to %d", name, text, least, most)
	}
	return n, nil
}
