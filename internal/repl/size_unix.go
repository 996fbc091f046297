//go:build unix

package repl

import (
	"os"
	"os/signal"
	"syscall"
)

// windowChanges tells when the terminal's window has a new size.
func windowChanges() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	return c, func() { signal.Stop(c) }
}
