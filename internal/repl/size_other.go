//go:build !unix

package repl

import "os"

// windowChanges never tells: there is no such signal here, and the size is asked only when an editor starts.
func windowChanges() (<-chan os.Signal, func()) { return nil, func() {} }
