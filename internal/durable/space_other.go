//go:build !linux

package durable

// Free is how many bytes may be written to the disk that path is on; it is not known here.
func Free(path string) (int64, bool) { return 0, false }
