package pth

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/safetensors"
)

func load(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

type source interface {
	Names() []string
	Tensor(string) (safetensors.Tensor, bool)
}

// same compares all tensors with those of want.
func same(t *testing.T, got, want source) {
	t.Helper()
	a, b := got.Names(), want.Names()
	slices.Sort(a)
	slices.Sort(b)
	if !slices.Equal(a, b) {
		t.Fatalf("got tensors %q, want %q", a, b)
	}
	for _, name := range a {
		x, ok := got.Tensor(name)
		y, _ := want.Tensor(name)
		if !ok || x.Name != name || x.DType != y.DType || !slices.Equal(x.Shape, y.Shape) || !bytes.Equal(x.Data, y.Data) {
			t.Errorf("%s: got %s %v % x, want %s %v % x", name, x.DType, x.Shape, x.Data, y.DType, y.Shape, y.Data)
		}
	}
}

// TestTorch reads what torch.save wrote (tools/reference/pth.py).
func TestTorch(t *testing.T) {
	for _, name := range []string{"types", "views", "protocol5", "state"} {
		t.Run(name, func(t *testing.T) {
			want, err := safetensors.Open("testdata/" + name + ".safetensors")
			if err != nil {
				t.Fatal(err)
			}
			defer want.Close()
			f := load(t, "testdata/"+name+".pth")
			same(t, f, want)
			names := f.Names()
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Errorf("second close: %v", err)
			}
			if _, ok := f.Tensor(names[0]); ok {
				t.Error("a closed file gives tensors")
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for name, want := range map[string]string{
		"code":     `"posix.system" when it is loaded; refused`,
		"legacy":   "before version 1.6, a bare pickle; load it with PyTorch and save it again: torch.save(",
		"expanded": `tensor "a": shape [100 4] with strides [0 1] repeats elements: 400 of a storage of 12; save a contiguous copy`,
	} {
		path := "testdata/" + name + ".pth"
		if _, err := Open(path); err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

func TestNotOurs(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ data, want string }{
		"empty":   {"", "is no zip file"},
		"text":    {"hello", "is no zip file"},
		"pointer": {"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"},
		"page":    {"<!DOCTYPE html>", "is a web page"},
		"pickle":  {"\x80\x04\x95", "is a bare pickle"},
		"zip":     {"PK\x03\x04 and no more", "truncated or damaged"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if _, err := Open(dir); err == nil || !strings.HasSuffix(err.Error(), "is a directory, want a file") {
		t.Errorf("directory: got %v", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
}

// TestTruncated cuts a file at every length: always an error that names the file.
func TestTruncated(t *testing.T) {
	whole, err := os.ReadFile("testdata/views.pth")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cut.pth")
	for n := 0; n < len(whole); n += 7 {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if f, err := Open(path); err == nil {
			f.Close()
			t.Fatalf("%d bytes of %d were opened", n, len(whole))
		}
	}
}

// A file that shrinks while it is mapped gives errors where it is read safely.
func TestTruncatedWhileMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pth")
	var buf bytes.Buffer
	w := NewWriter(&buf, "x")
	big := safetensors.Tensor{Name: "a", DType: safetensors.U8, Shape: []int{1 << 20}, Data: make([]byte, 1<<20)}
	if err := w.Write(big, []safetensors.Tensor{big}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	f := load(t, path)
	a, _ := f.Tensor("a")
	if err := os.Truncate(path, 1000); err != nil {
		t.Fatal(err)
	}
	if err := a.CopyTo(make([]byte, 1<<20)); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("got %v", err)
	}
	v := f.tensors["a"]
	v.shape, v.stride = []int{512, 2048}, []int64{1, 512}
	f.tensors["a"] = v
	if _, ok := f.Tensor("a"); ok {
		t.Error("a view of what is gone was given")
	}
}

func TestOpenDir(t *testing.T) {
	index := func(s string) map[string]string { return map[string]string{indexName: s} }
	for name, c := range map[string]struct {
		files map[string]string // contents, or "=NAME" for a copy of a file in testdata
		want  string            // of the error, "" for the tensors of views and types
	}{
		"one":     {map[string]string{"pytorch_model.bin": "=views.pth"}, ""},
		"shards":  {map[string]string{indexName: "", "a.bin": "=views.pth", "b.bin": "=types.pth"}, ""},
		"nothing": {nil, "no such file"},
		"broken":  {map[string]string{indexName: "", "a.bin": "=views.pth", "b.bin": "=code.pth"}, "posix.system"},
		"missing": {map[string]string{indexName: "", "a.bin": "=views.pth"}, "b.bin: no such file"},
		"other":   {map[string]string{indexName: "", "a.bin": "=views.pth", "b.bin": "=views.pth"}, `b.bin: has "whole", which the index does not say is there`},
		"parent":  {index(`{"weight_map":{"a":"../a.bin"}}`), `tensor "a": file "../a.bin" is not a .bin file below`},
		"pipe":    {index(`{"weight_map":{"a":"a.pth"}}`), "is not a .bin file"},
		"empty":   {index(`{"weight_map":{}}`), "has no weight_map"},
		"no JSON": {index(`{"weight_map":`), "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			views, types := load(t, "testdata/views.pth"), load(t, "testdata/types.pth")
			for file, content := range c.files {
				if from, ok := strings.CutPrefix(content, "="); ok {
					data, err := os.ReadFile(filepath.Join("testdata", from))
					if err != nil {
						t.Fatal(err)
					}
					content = string(data)
				}
				if file == indexName && content == "" {
					var list []string
					for _, n := range views.Names() {
						list = append(list, `"`+n+`":"a.bin"`)
					}
					for _, n := range types.Names() {
						list = append(list, `"`+n+`":"b.bin"`)
					}
					content = `{"weight_map":{` + strings.Join(list, ",") + `}}`
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			d, err := OpenDir(dir)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), dir) {
					t.Errorf("got %v, want %s", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			names := views.Names()
			if name == "shards" {
				names = append(names, types.Names()...)
			}
			if !slices.Equal(d.Names(), names) {
				t.Errorf("got %q, want %q", d.Names(), names)
			}
			x, ok := d.Tensor("transposed")
			y, _ := views.Tensor("transposed")
			if !ok || !bytes.Equal(x.Data, y.Data) {
				t.Error("transposed differs")
			}
			if _, ok := d.Tensor("none"); ok {
				t.Error("got a tensor that is not there")
			}
		})
	}
}
