package durable

import "syscall"

// Free is how many bytes may be written to the disk that path, a directory, is on; false when that is not known.
func Free(path string) (int64, bool) {
	var s syscall.Statfs_t
	if syscall.Statfs(path, &s) != nil {
		return 0, false
	}
	return int64(s.Bavail) * s.Bsize, true
}
