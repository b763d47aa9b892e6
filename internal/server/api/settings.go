package api

import (
	"context"
	"net/http"

	"stella/internal/scanner"
)

type settingKey struct {
	Key string `path:"key" doc:"the setting's key, such as worker.memory_limit" maxLength:"64"`
}

type settingsFilter struct {
	Key string `query:"key" doc:"a key, or a group such as worker; empty is all" maxLength:"64"`
}

type putSetting struct {
	Key  string `path:"key" doc:"the setting's key, such as worker.memory_limit" maxLength:"64"`
	Body struct {
		Value string `json:"value" doc:"the value, as people write it: 8Gi, 20m, true" maxLength:"256"`
	}
}

func (a *API) registerSettings() {
	register(a, operation(scanner.ScopeRead, http.MethodGet, "/v1/settings", "list-settings", "List settings, with where each value comes from"),
		func(ctx context.Context, _ scanner.Caller, in *settingsFilter) ([]scanner.Setting, error) {
			return list(a.service.Settings(ctx, in.Key))
		})
	register(a, operation(scanner.ScopeAdmin, http.MethodPut, "/v1/settings/{key}", "set-setting", "Change a setting"),
		func(ctx context.Context, by scanner.Caller, in *putSetting) (scanner.SettingChange, error) {
			return a.service.Set(ctx, by, in.Key, in.Body.Value)
		})
	register(a, operation(scanner.ScopeAdmin, http.MethodDelete, "/v1/settings/{key}", "unset-setting", "Give a setting its default again"),
		func(ctx context.Context, by scanner.Caller, in *settingKey) (scanner.SettingChange, error) {
			return a.service.Unset(ctx, by, in.Key)
		})
}
