//go:build unix && !aix && !solaris

package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock marks f as being written until it is closed or the process ends. Where the
// file system has no locks this does nothing: then Recover must not run beside a
// writer of the same path.
func lock(f *os.File) {
	// Waits, though only for a Recover that is looking at this very moment.
	for unix.Flock(int(f.Fd()), unix.LOCK_EX) == unix.EINTR {
	}
}

// lockDir is lock for a directory; closing the file, if there is one, unlocks it.
func lockDir(path string) *os.File {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	lock(f)
	return f
}

// locked reports whether a living writer holds the lock of path.
func locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
