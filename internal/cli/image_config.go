package cli

import (
	"bytes"
	"encoding/json"
)

// containerConfig is how the image wants to be run, with the names that the
// OCI image configuration has for it
// (github.com/opencontainers/image-spec/blob/main/config.md).
type containerConfig struct {
	User         string              `json:"User,omitempty"`
	Env          []string            `json:"Env,omitempty"`
	Entrypoint   []string            `json:"Entrypoint,omitempty"`
	Cmd          []string            `json:"Cmd,omitempty"`
	WorkingDir   string              `json:"WorkingDir,omitempty"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts,omitempty"`
	Volumes      map[string]struct{} `json:"Volumes,omitempty"`
	Labels       map[string]string   `json:"Labels,omitempty"`
	StopSignal   string              `json:"StopSignal,omitempty"`
}

// parseContainerConfig reads the part of a configuration that image.Config
// leaves out; nil where it cannot be read, because nothing depends on it.
func parseContainerConfig(raw []byte) *containerConfig {
	var v struct {
		Config *containerConfig `json:"config"`
	}
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	return v.Config
}

// createdBy gives, for each of n layers, the build step that made it. A
// history that does not fit the layers tells nothing.
func createdBy(raw []byte, n int) []string {
	var v struct {
		History json.RawMessage `json:"history"`
	}
	if json.Unmarshal(raw, &v) != nil || v.History == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(v.History))
	if _, err := d.Token(); err != nil {
		return nil
	}
	var steps []string
	for d.More() {
		var step struct {
			CreatedBy  string `json:"created_by"`
			EmptyLayer bool   `json:"empty_layer"`
		}
		if d.Decode(&step) != nil || !step.EmptyLayer && len(steps) == n {
			return nil
		}
		if !step.EmptyLayer {
			steps = append(steps, step.CreatedBy)
		}
	}
	if len(steps) != n {
		return nil
	}
	return steps
}
