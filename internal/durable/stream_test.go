package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	write(t, path, "old")
	for _, c := range []struct {
		name, want string
		end        func(f *File) error
	}{
		{"abort", "old", func(f *File) error { f.Abort(); return nil }},
		{"commit", "new and more", (*File).Commit},
		{"commit twice", "new and more", func(f *File) error { f.Commit(); f.Abort(); return f.Commit() }},
	} {
		f, err := CreateFile(path, 0o644)
		check0(t, err)
		for _, part := range []string{"new", " and", " more"} {
			if n, err := f.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got, _ := os.ReadFile(path); c.name != "commit twice" && string(got) != "old" {
			t.Errorf("%s: %q before the end", c.name, got)
		}
		check0(t, c.end(f))
		if got, _ := os.ReadFile(path); string(got) != c.want || len(names(t, dir)) != 1 {
			t.Errorf("%s: %q, and files %v", c.name, got, names(t, dir))
		}
		if _, err := f.Write([]byte("x")); err == nil {
			t.Errorf("%s: a write after the end is no error", c.name)
		}
	}
	if _, err := CreateFile(filepath.Join(dir, "none", "a"), 0o644); err == nil {
		t.Error("no directory, and no error")
	}
	f, err := CreateFile(filepath.Join(dir, "d"), 0o644)
	check0(t, err)
	check0(t, os.MkdirAll(filepath.Join(dir, "d", "full"), 0o755))
	if err := f.Commit(); err == nil || len(names(t, dir)) != 2 {
		t.Errorf("a file in the place of a directory: %v, files %v", err, names(t, dir))
	}
}
