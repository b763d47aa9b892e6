package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"stella/internal/scan/sbom"
)

// output is one value of -o: a format, and a file for it.
type output struct {
	format sbom.Format
	file   string // empty for standard output
}

// parseOutputs reads all values of -o. Without any, it is a table on standard output.
func parseOutputs(values []string) ([]output, error) {
	if len(values) == 0 {
		values = []string{"table"}
	}
	var outputs []output
	stdout := ""
	files := make(map[string]string)
	for _, v := range values {
		name, file, named := strings.Cut(v, "=")
		format, err := sbom.ParseFormat(name)
		if err != nil {
			return nil, fmt.Errorf("-o %s: %w", v, err)
		}
		switch {
		case named && file == "":
			return nil, fmt.Errorf("-o %s: there is no file behind the =", v)
		case !named && stdout != "":
			return nil, fmt.Errorf("-o %s and -o %s both go to standard output; give one of them a file: -o %s=FILE", stdout, v, v)
		case !named:
			stdout = v
		case files[absolute(file)] != "":
			return nil, fmt.Errorf("-o %s and -o %s name the same file", files[absolute(file)], v)
		default:
			files[absolute(file)] = v
		}
		outputs = append(outputs, output{format, file})
	}
	return outputs, nil
}

// absolute is a best effort: what cannot be resolved fails later, when it is opened.
func absolute(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// check finds out before a long scan whether the output can be written.
func (o output) check() error {
	if o.file == "" {
		return nil
	}
	return checkWritable(o.file)
}

// writeOutputs writes a document in all the formats that were asked for: files
// first, because a reader of standard output may go away. It calls beforeStdout
// when only standard output is left.
func (a *app) writeOutputs(outputs []output, beforeStdout func(), write func(io.Writer, sbom.Format) error) error {
	for _, o := range outputs {
		if o.file == "" {
			continue
		}
		if err := writeFile(o.file, func(w io.Writer) error { return write(w, o.format) }); err != nil {
			return err
		}
	}
	beforeStdout()
	for _, o := range outputs {
		if o.file == "" {
			return a.result(func(w io.Writer) error { return write(w, o.format) })
		}
	}
	return nil
}
