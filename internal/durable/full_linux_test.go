package durable

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that is really full: a file system of 64 KiB.
func TestFullDisk(t *testing.T) {
	base := t.TempDir()
	if err := unix.Mount("tmpfs", base, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount a small file system, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(base, 0); err != nil {
			t.Errorf("unmount %s: %v", base, err)
		}
	})

	path := filepath.Join(base, "final")
	check0(t, version(t, path, "one").Commit())
	for name, fill := range map[string]func(d *Dir) error{
		"one large file": func(d *Dir) error { return d.WriteFile("c.txt", make([]byte, 100<<10)) },
		"many files": func(d *Dir) error {
			for i := range 20 {
				if err := d.WriteFile(string(rune('c'+i)), make([]byte, 8<<10)); err != nil {
					return err
				}
			}
			return nil
		},
		"copy": func(d *Dir) error {
			from := filepath.Join(t.TempDir(), "from")
			check0(t, os.WriteFile(from, make([]byte, 100<<10), 0o644))
			return d.CopyFile("c.txt", from)
		},
		"the manifest": func(d *Dir) error { // every page is taken when it comes
			f, err := os.Create(filepath.Join(d.tmp, "ballast"))
			check0(t, err)
			defer f.Close()
			for err == nil {
				_, err = f.Write(make([]byte, 4096))
			}
			return err
		},
	} {
		d := version(t, path, "two")
		if err := fill(d); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: got %v, want no space", name, err)
		}
		if err := d.Commit(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: Commit: got %v, want no space", name, err)
		}
		check0(t, d.Abort())
		has(t, path, "one")
	}

	file := filepath.Join(base, "state.json")
	check0(t, WriteFile(file, []byte("before"), 0o644))
	if err := WriteFile(file, make([]byte, 100<<10), 0o644); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("WriteFile: got %v, want no space", err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, []byte("before")) {
		t.Errorf("WriteFile: got %q, %v, want what was there before", got, err)
	}
	if got, want := names(t, base), []string{"final", "state.json"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}
