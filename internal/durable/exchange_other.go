//go:build !linux

package durable

import "errors"

// exchange swaps the names of two directories in one step, on Linux.
func exchange(string, string) error { return errors.ErrUnsupported }
