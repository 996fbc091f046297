package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVerify(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, path string)
		sizes  []string // what VerifySizes says, nil for no error
		sums   []string // what Verify says
	}{
		"untouched":  {func(*testing.T, string) {}, nil, nil},
		"added file": {func(t *testing.T, path string) { write(t, filepath.Join(path, "notes"), "x") }, nil, nil},
		"one bit": {func(t *testing.T, path string) { write(t, filepath.Join(path, "a.txt"), "onf") }, nil,
			[]string{"1 of 2 files are not as in manifest.json:\n\ta.txt: sha256 ", ", want 7692c3ad3540bb80"}},
		"missing, short": {func(t *testing.T, path string) {
			check0(t, os.Remove(filepath.Join(path, "a.txt")))
			check0(t, os.Truncate(filepath.Join(path, "sub", "b.txt"), 2999))
		}, []string{"2 of 2 files", "\ta.txt: missing", "\tsub/b.txt: 2999 bytes, want 3000"}, []string{"2 of 2 files", "\ta.txt: missing", "\tsub/b.txt: 2999 bytes, want 3000"}},
		"long": {func(t *testing.T, path string) { write(t, filepath.Join(path, "a.txt"), "ones") }, []string{"\ta.txt: 4 bytes, want 3"}, []string{"\ta.txt: 4 bytes, want 3"}},
		"directory": {func(t *testing.T, path string) {
			check0(t, os.Remove(filepath.Join(path, "a.txt")))
			check0(t, os.Mkdir(filepath.Join(path, "a.txt"), 0o755))
		}, []string{"\ta.txt: not a regular file"}, []string{"\ta.txt: not a regular file"}},
		"no manifest": {func(t *testing.T, path string) { check0(t, os.Remove(filepath.Join(path, manifestName))) },
			[]string{"has no manifest.json (file does not exist): whoever wrote it was interrupted"}, []string{"has no manifest.json"}},
		"half a manifest": {func(t *testing.T, path string) { check0(t, os.Truncate(filepath.Join(path, manifestName), 50)) },
			[]string{"manifest.json: unexpected end of JSON input; it is damaged"}, []string{"manifest.json: unexpected end"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "final")
			check0(t, version(t, path, "one").Commit())
			c.change(t, path)
			for _, v := range []struct {
				name string
				err  error
				want []string
			}{{"VerifySizes", VerifySizes(path), c.sizes}, {"Verify", Verify(path), c.sums}} {
				if v.want == nil {
					if v.err != nil {
						t.Errorf("%s: got %v, want no error", v.name, v.err)
					}
					continue
				}
				if v.err == nil || !strings.HasPrefix(v.err.Error(), path+": ") {
					t.Errorf("%s: got %v, want an error that begins with the path", v.name, v.err)
					continue
				}
				for _, want := range v.want {
					if !strings.Contains(v.err.Error(), want) {
						t.Errorf("%s: got %v, want %s", v.name, v.err, want)
					}
				}
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "x")
	if err := Verify(missing); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), missing+": ") {
		t.Errorf("no directory: got %v", err)
	}
}

func TestHostileManifest(t *testing.T) {
	const sum = "0000000000000000000000000000000000000000000000000000000000000000"
	entry := func(name, size, sum string) string {
		return `{"format":"litgpt-manifest","version":1,"files":{"` + name + `":{"size":` + size + `,"sha256":"` + sum + `"}}}`
	}
	for text, want := range map[string]string{
		``:                             "unexpected end of JSON input",
		`[]`:                           "cannot unmarshal array",
		`{}`:                           `format "", want "litgpt-manifest"; another program wrote it`,
		`{"format":"x"}`:               `format "x", want "litgpt-manifest"`,
		`{"format":"litgpt-manifest"}`: `version 0, want 1`,
		`{"format":"litgpt-manifest","version":2,"files":{}}`: `version 2, want 1; a newer litgpt wrote it`,
		entry("a", "0", sum) + "{}":                           "invalid character '{' after top-level value",
		entry("../a", "0", sum):                               `file "../a", size 0`,
		entry("/etc/passwd", "0", sum):                        `file "/etc/passwd"`,
		entry(`a\\b`, "0", sum):                               `is not a possible entry`,
		entry("", "0", sum):                                   `is not a possible entry`,
		entry(manifestName, "0", sum):                         `is not a possible entry`,
		entry("a", "-1", sum):                                 `size -1`,
		entry("a", "1.5", sum):                                `cannot unmarshal number 1.5`,
		entry("a", "1e30", sum):                               `cannot unmarshal number 1e30`,
		entry("a", "0", ""):                                   `sha256 ""`,
		entry("a", "0", sum[2:]):                              `is not a possible entry`,
		entry("a", "0", sum[1:]+"g"):                          `is not a possible entry`,
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, manifestName), text)
		if err := VerifySizes(dir); err == nil || !strings.HasPrefix(err.Error(), dir+": manifest.json: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if _, err := parseManifest(make([]byte, maxManifest+1)); err == nil || !strings.Contains(err.Error(), "more than 67108864 bytes") {
		t.Errorf("huge: got %v", err)
	}

	// A link out of the directory is not followed.
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "")
	inner := filepath.Join(dir, "inner")
	write(t, filepath.Join(inner, manifestName), entry("a", "0", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"))
	if err := os.Symlink(filepath.Join("..", "secret"), filepath.Join(inner, "a")); err != nil {
		t.Skipf("no links here: %v", err)
	}
	if err := Verify(inner); err == nil || !strings.Contains(err.Error(), "a: path escapes from parent") {
		t.Errorf("link out: got %v", err)
	}
}
