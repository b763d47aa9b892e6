package api

import (
	"fmt"
	"math"
	"net/http"
	"strings"

	"stella/internal/rdev"
	"stella/internal/rdev/audit"
	"stella/internal/rdev/keys"
)

func (a *API) listKeys(w http.ResponseWriter, r *http.Request, _ keys.Identity) error {
	all, err := a.Keys.List(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, rdev.KeyList{Keys: all})
}

func (a *API) createKey(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	var request rdev.KeyRequest
	if err := a.read(w, r, smallBody, &request); err != nil {
		return err
	}
	key, err := a.Keys.Create(r.Context(), id.Caller, request)
	if err != nil {
		return err
	}
	may := fmt.Sprintf("%s, %s", key.Scope, strings.Join(key.Projects, " "))
	if len(key.Projects) == 0 {
		may = fmt.Sprintf("%s, all projects", key.Scope)
	}
	a.Audit.Add(r.Context(), rdev.AuditEntry{By: id.Name, From: id.From, Action: rdev.ActionKey, Key: key.Name, Detail: may})
	return reply(w, http.StatusCreated, key)
}

func (a *API) rotateKey(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	var request rdev.RotateRequest
	if err := a.read(w, r, smallBody, &request); err != nil {
		return err
	}
	key, err := a.Keys.Rotate(r.Context(), id.Caller, r.PathValue("name"), request)
	if err != nil {
		return err
	}
	a.Audit.Add(r.Context(), rdev.AuditEntry{By: id.Name, From: id.From, Action: rdev.ActionRotate, Key: key.Name,
		Detail: fmt.Sprintf("the old secret counts for %v", request.Grace)})
	return reply(w, http.StatusOK, key)
}

func (a *API) revokeKey(w http.ResponseWriter, r *http.Request, id keys.Identity) error {
	name := r.PathValue("name")
	if err := a.Keys.Revoke(r.Context(), id.Caller, name); err != nil {
		return err
	}
	a.Hub.EndKey(keys.CallerName(name))
	a.Audit.Add(r.Context(), rdev.AuditEntry{By: id.Name, From: id.From, Action: rdev.ActionRevoke, Key: name})
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *API) auditLog(w http.ResponseWriter, r *http.Request, _ keys.Identity) error {
	q := r.URL.Query()
	limit, err := number(q, "limit", 1, audit.MaxPage, usualPage)
	if err != nil {
		return err
	}
	before, err := number(q, "before", 1, math.MaxInt64, 0)
	if err != nil {
		return err
	}
	page, err := a.Audit.Page(r.Context(), before, int(limit))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, page)
}
