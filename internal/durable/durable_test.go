package durable

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// tree reads the files below dir by name; a directory ends in "/".
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	check0(t, err)
	files := map[string]string{}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if name = filepath.ToSlash(name); e.IsDir() {
			files[name+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(path)
		files[name] = string(data)
		return err
	})
	check0(t, err)
	return files
}

// names lists what is directly in dir, hidden things included.
func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func write(t testing.TB, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func check0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	for _, data := range []string{"one", "", strings.Repeat("three", 1000)} {
		check0(t, WriteFile(path, []byte(data), 0o640))
		if got, err := os.ReadFile(path); err != nil || string(got) != data {
			t.Errorf("got %.20q, %v, want %.20q", got, err, data)
		}
		if got, want := names(t, dir), []string{"config.json"}; !slices.Equal(got, want) {
			t.Errorf("directory has %q, want %q", got, want)
		}
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&^0o640 != 0 {
		t.Errorf("got mode %v, want at most 0640", info.Mode())
	}
}

func TestWriteFileErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	write(t, path, "before")

	// A disk that is full is the device file made for that.
	if _, err := os.Stat("/dev/full"); err == nil {
		err := writeFile(path, bytes.Repeat([]byte("x"), 100), 0o644, func(name string, flag int, perm os.FileMode) (*os.File, error) {
			write(t, name, "half") // what must be removed
			return os.OpenFile("/dev/full", os.O_WRONLY, 0)
		})
		if !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), path+": no space left on device; free some space") {
			t.Errorf("full disk: got %v", err)
		}
	}
	if err := WriteFile(filepath.Join(dir, "no", "x"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), tmpMark) {
		t.Errorf("no directory: got %v", err)
	}
	write(t, filepath.Join(dir, "taken", "x"), "")
	if err := WriteFile(filepath.Join(dir, "taken"), nil, 0o644); err == nil || !strings.HasPrefix(err.Error(), filepath.Join(dir, "taken")+": ") || strings.Contains(err.Error(), tmpMark) {
		t.Errorf("directory in the way: got %v", err)
	}
	if got, want := names(t, dir), []string{"config.json", "taken"}; !slices.Equal(got, want) {
		t.Errorf("directory has %q, want %q", got, want)
	}
	if got, _ := os.ReadFile(path); string(got) != "before" {
		t.Errorf("got %q, want what was there before", got)
	}
}

func TestSplitSibling(t *testing.T) {
	for _, path := range []string{"final", ".hidden", "a.tmp-1", "a.tmp-0123456789abcdef", "step-000200", "ü x"} {
		for _, mark := range []string{tmpMark, asideMark} {
			base, m, ok := splitSibling(filepath.Base(sibling(filepath.Join("dir", path), mark)))
			if !ok || base != path || m != mark {
				t.Errorf("%s: got %q, %q, %v", path, base, m, ok)
			}
		}
	}
	for _, name := range []string{"", ".", "final", ".final", ".final.tmp-", ".final.tmp-0123456789abcde", ".final.tmp-0123456789abcdeX",
		"final.tmp-0123456789abcdef", ".tmp-0123456789abcdef", ".final.old-1", "final.old-1"} {
		if base, _, ok := splitSibling(name); ok {
			t.Errorf("%q was taken for ours, of %q", name, base)
		}
	}
}
