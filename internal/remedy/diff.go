package remedy

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// diff writes what edits change in an object, as a unified diff of YAML. It has the places that lead there and the resources around, and nothing
// else: other variables of the environment can be secrets.
func (o *Object) diff(edits []Edit) (string, error) {
	text := encode(o.tree)
	changed, err := Patched(text, edits)
	if err != nil {
		return "", err
	}
	after, err := decode(changed)
	if err != nil {
		return "", err
	}
	var places [][]string
	for _, e := range edits {
		parts, err := split(e.Path)
		if err != nil {
			return "", err
		}
		places = append(places, parts)
	}
	a, errA := lines(excerpt(o.tree, places))
	b, errB := lines(excerpt(after, places))
	if errA != nil || errB != nil {
		return "", errors.Join(errA, errB)
	}
	name := fmt.Sprintf("%s/%s", o.Kind, o.Metadata.Name)
	return fmt.Sprintf("--- %s\n+++ %s\n@@ -1,%d +1,%d @@\n%s", name, name, len(a), len(b), unified(a, b)), nil
}

// excerpt is what of a tree leads to the places, with the names of what is on the way, and whole what is called resources.
func excerpt(tree any, places [][]string) any {
	deeper := map[string][][]string{}
	for _, p := range places {
		if len(p) == 0 {
			return tree
		}
		deeper[p[0]] = append(deeper[p[0]], p[1:])
	}
	switch t := tree.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, below := range deeper {
			value, ok := t[key]
			switch {
			case ok && key == "resources":
				out[key] = value
			case ok:
				out[key] = excerpt(value, below)
			}
		}
		if name, ok := t["name"]; ok {
			out["name"] = name
		}
		return out
	case []any:
		out := []any{}
		for i, item := range t {
			if below, ok := deeper[strconv.Itoa(i)]; ok {
				out = append(out, excerpt(item, below))
			}
		}
		return out
	}
	return tree
}

func lines(tree any) ([]string, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(tree); err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"), e.Close()
}

// unified writes two texts as one, by their longest common subsequence. Excerpts have some dozen lines.
func unified(a, b []string) string {
	common := make([][]int, len(a)+1) // how many lines from i in a and j in b on are common
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out strings.Builder
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out.WriteString(" " + a[i] + "\n")
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			out.WriteString("-" + a[i] + "\n")
			i++
		default:
			out.WriteString("+" + b[j] + "\n")
			j++
		}
	}
	return out.String()
}
