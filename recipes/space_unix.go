//go:build linux || darwin

package recipes

import "syscall"

// freeBytes is what can be written to the disk of a directory.
func freeBytes(dir string) (int, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int(s.Bavail) * int(s.Bsize), true
}
