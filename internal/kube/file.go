package kube

import (
	"errors"
	"fmt"
	"io"
)

// ReadList calls each with all objects of a list that was kept in a file: what kubectl get -o json prints, or an
// answer of the API. It ends with the first error of each, as it is; before any error some objects may have been given.
func ReadList[T any](r io.Reader, each func(*T) error) error {
	p := parser[T]{in: &budget{r: r}}
	_, err := p.list(each)
	var stopped stop
	if errors.As(err, &stopped) {
		return stopped.error
	}
	if err != nil {
		return fmt.Errorf("list of Kubernetes objects: %w", err)
	}
	return nil
}
