package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Config is what an image says of itself.
type Config struct {
	OS, Architecture, Variant, OSVersion string
	// Created is zero where the image does not say, or not understandably.
	Created time.Time
	Author  string
	Env     []string
	Labels  map[string]string
	// History is the number of build steps, with those that made no layer.
	History int

	diffIDs []string
}

func (c *Config) platform() platform {
	return platform{c.OS, c.Architecture, c.Variant, c.OSVersion}
}

// parseConfig reads an image configuration, OCI's or Docker's, which agree in what is read here.
func parseConfig(raw []byte) (Config, error) {
	var v struct {
		platform
		Created string `json:"created"`
		Author  string `json:"author"`
		Config  struct {
			Env    list[string] `json:"Env"`
			Labels labels       `json:"Labels"`
		} `json:"config"`
		RootFS struct {
			DiffIDs list[string] `json:"diff_ids"`
		} `json:"rootfs"`
		// Empty structs take no memory however many there are.
		History []struct{} `json:"history"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return Config{}, fmt.Errorf("the image's configuration is not valid: %w", err)
	}
	for i, d := range v.RootFS.DiffIDs {
		if _, err := parseDigest(d); err != nil {
			return Config{}, fmt.Errorf("the image's configuration: diffID of layer %d: %w", i, err)
		}
	}
	c := Config{
		OS: v.OS, Architecture: v.Architecture, Variant: v.Variant, OSVersion: v.OSVersion,
		Author: v.Author, Env: v.Config.Env, Labels: v.Config.Labels,
		History: len(v.History), diffIDs: v.RootFS.DiffIDs,
	}
	if t, err := time.Parse(time.RFC3339Nano, v.Created); err == nil {
		c.Created = t
	}
	return c, nil
}

// labels is a JSON object of strings with at most maxItems members, a bound that holds while decoding.
type labels map[string]string

func (l *labels) UnmarshalJSON(data []byte) error {
	*l = nil
	dec := json.NewDecoder(bytes.NewReader(data))
	switch tok, err := dec.Token(); {
	case err != nil:
		return err
	case tok == nil:
		return nil
	case tok != json.Delim('{'):
		return errors.New("expected labels")
	}
	m := make(labels)
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value string
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if m[key.(string)] = value; len(m) > maxItems {
			return fmt.Errorf("there are more than %d labels", maxItems)
		}
	}
	*l = m
	return nil
}
