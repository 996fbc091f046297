package durable

import (
	"errors"

	"golang.org/x/sys/unix"
)

// exchange swaps the names of two directories in one step. When the kernel or the file
// system cannot, the error is errors.ErrUnsupported.
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	// NFS, 9p and many FUSE file systems answer EINVAL.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
		return errors.ErrUnsupported
	}
	return err
}
