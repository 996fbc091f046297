//go:build !unix || aix || solaris

package durable

import "os"

// lock does nothing: an open directory could not be renamed on Windows.
func lock(*os.File) {}

// lockDir is lock for a directory; there is nothing to close.
func lockDir(string) *os.File { return nil }

// locked reports whether a living writer holds the lock of path.
func locked(string) bool { return false }
