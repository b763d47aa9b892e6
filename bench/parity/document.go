package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// component is what is read of a CycloneDX component.
type component struct {
	Type       string `json:"type"`
	PURL       string `json:"purl"`
	Properties []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"properties"`
	Evidence struct {
		Occurrences []struct {
			Location string `json:"location"`
		} `json:"occurrences"`
	} `json:"evidence"`
}

var (
	syftPath = regexp.MustCompile(`^syft:location:[0-9]+:path$`)
)

// places returns where the tool says that it found the component.
func (c *component) places() (v []string) {
	for _, p := range c.Properties {
		if p.Name == "syft:metadata:virtualPath" { // a member of an archive, or the archive
			return []string{placeOf(p.Value)}
		}
		if syftPath.MatchString(p.Name) {
			v = append(v, placeOf(p.Value))
		}
	}
	if strings.HasPrefix(c.PURL, "pkg:maven/") {
		return append(v, c.chain()...)
	}
	for _, o := range c.Evidence.Occurrences {
		v = append(v, placeOf(o.Location))
	}
	return v
}

// chain is the place of a package that scalibr found in an archive: the last of its occurrences, of which
// the archives around it come before. A manifest stands for its archive.
func (c *component) chain() []string {
	last := ""
	for _, o := range c.Evidence.Occurrences {
		if len(o.Location) > len(last) {
			last = o.Location
		}
	}
	if last == "" {
		return nil
	}
	return []string{placeOf(strings.TrimSuffix(last, "/META-INF/MANIFEST.MF"))}
}

// isPackage leaves out files, of which syft lists every one, and the operating system.
func (c *component) isPackage() bool {
	return c.PURL != "" && c.Type != "file" && c.Type != "operating-system"
}

// readDocument reads the packages of a CycloneDX JSON document, one component after another.
func readDocument(r io.Reader) (list, error) {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("read CycloneDX: it is no JSON object"), err)
	}
	l, seen := list{}, false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("read CycloneDX: %w", err)
		}
		if key != "components" {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return nil, fmt.Errorf("read CycloneDX %v: %w", key, err)
			}
			continue
		}
		seen = true
		if t, err := d.Token(); err != nil || t != json.Delim('[') {
			return nil, errors.Join(errors.New("read CycloneDX: components is no list"), err)
		}
		for n := 0; d.More(); n++ {
			var c component
			if err := d.Decode(&c); err != nil {
				return nil, fmt.Errorf("read CycloneDX component %d: %w", n, err)
			}
			if c.isPackage() {
				l.add(c.PURL, c.places()...)
			}
		}
		if _, err := d.Token(); err != nil {
			return nil, fmt.Errorf("read CycloneDX: %w", err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("read CycloneDX: %w", err)
	}
	if !seen {
		return nil, errors.New("read CycloneDX: the document has no components")
	}
	return l, nil
}

func readDocumentFile(name string) (list, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := readDocument(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return l, nil
}
