// Package durable writes what a user cannot lose: trained weights, the state of a
// run, settings. A crash, a full disk or a power cut at any point leaves either the
// previous complete version or the new one, never half of each.
//
// WriteFile does it for one file, Dir for a directory of files that belong
// together. A directory ends with manifest.json, which has the size and the SHA-256 of
// every file; one without it is incomplete. After a crash, Recover tidies up what an
// interrupted writer left; Latest finds the newest complete one of numbered
// directories.
//
// How: everything is written under a temporary name beside its place, synced to the
// disk, and then renamed. Temporary names are hidden and end in 16 random digits,
// ".step-000200.tmp-0123456789abcdef"; a living writer holds a lock on them (on Unix),
// so that Recover in another process leaves them alone.
//
// Nothing is deleted that this package did not write: an existing directory that has
// no manifest, or in which files were added or changed size, is not removed when
// it is replaced, but kept beside the new one as "<name>.old-1".
package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	tmpMark   = ".tmp-" // of a new version that is being written, or an old one being removed
	asideMark = ".old-" // of an old version while the new one is put in its place
)

// WriteFile replaces the file at path by one with data; perm is subject to the
// umask and not taken from an earlier file. When it fails, what was at path is
// untouched and nothing else is left. A symbolic link at path is replaced, not followed.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	return writeFile(path, data, perm, os.OpenFile)
}

// openFunc is os.OpenFile, or in tests something that fails.
type openFunc func(name string, flag int, perm os.FileMode) (*os.File, error)

func writeFile(path string, data []byte, perm os.FileMode, open openFunc) (err error) {
	tmp := sibling(path, tmpMark)
	f, err := open(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return failed(path, err)
	}
	defer func() {
		f.Close() // a second time when all went well, and then without effect
		if err != nil {
			os.Remove(tmp)
			err = failed(path, err)
		}
	}()
	lock(f) // released by Close
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// sibling is a hidden name beside path, with mark and random digits behind its own.
func sibling(path, mark string) string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+mark+hex.EncodeToString(b[:]))
}

// splitSibling takes a name of sibling apart; ok is false for all other names.
func splitSibling(name string) (base, mark string, ok bool) {
	const digits = 16
	if !strings.HasPrefix(name, ".") || len(name) < 1+1+len(tmpMark)+digits {
		return "", "", false
	}
	rest, random := name[1:len(name)-digits], name[len(name)-digits:]
	if strings.Trim(random, "0123456789abcdef") != "" {
		return "", "", false
	}
	for _, mark := range []string{tmpMark, asideMark} {
		if base, ok := strings.CutSuffix(rest, mark); ok && base != "" {
			return base, mark, true
		}
	}
	return "", "", false
}

// failed is err of the system, but about path instead of a temporary name.
func failed(path string, err error) error {
	if err = cause(err); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w; free some space or write to another disk, what was there before is untouched", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// cause strips the operation and the names that package os adds.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// exists reports whether something is at path, a dangling link included.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
