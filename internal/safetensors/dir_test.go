package safetensors

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// files makes a directory; in paths "/" makes sub-directories.
func files(t *testing.T, contents map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range contents {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// u8s is a file with one-byte tensors of these names; the byte is the name's first.
func u8s(t *testing.T, names ...string) string {
	t.Helper()
	var tensors []Tensor
	for _, n := range names {
		tensors = append(tensors, Tensor{Name: n, DType: U8, Shape: []int{1}, Data: []byte{n[0]}})
	}
	return string(encode(t, tensors, nil))
}

const (
	shard1 = "model-00001-of-00002.safetensors"
	shard2 = "model-00002-of-00002.safetensors"
	index2 = `{"metadata":{"total_size":3,"x":[{}]},"weight_map":{"c":"` + shard2 + `","a":"` + shard1 + `","b":"` + shard1 + `"},"later":null}`
)

func TestOpenDir(t *testing.T) {
	for name, c := range map[string]struct {
		contents     map[string]string
		names, files []string
	}{
		"one file": {map[string]string{"model.safetensors": u8s(t, "b", "a"), "config.json": "{}"},
			[]string{"b", "a"}, []string{"model.safetensors"}},
		"shards": {map[string]string{indexName: index2, shard1: u8s(t, "b", "a"), shard2: u8s(t, "c")},
			[]string{"b", "a", "c"}, []string{shard1, shard2}},
		"shards in a directory": {map[string]string{indexName: `{"weight_map":{"a":"w/1.safetensors"}}`, "w/1.safetensors": u8s(t, "a")},
			[]string{"a"}, []string{"w/1.safetensors"}},
		"one file goes first": {map[string]string{indexName: `junk`, "model.safetensors": u8s(t, "a")},
			[]string{"a"}, []string{"model.safetensors"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files(t, c.contents)
			d, err := OpenDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Names(); !slices.Equal(got, c.names) {
				t.Errorf("names: got %q, want %q", got, c.names)
			}
			for _, n := range c.names {
				if x, ok := d.Tensor(n); !ok || x.Name != n || x.Data[0] != n[0] {
					t.Errorf("%s: got %v, %v", n, x, ok)
				}
			}
			if _, ok := d.Tensor("z"); ok {
				t.Error("got a tensor that is not there")
			}
			var want []string
			for _, f := range c.files {
				want = append(want, filepath.Join(dir, f))
			}
			if got := d.Files(); !slices.Equal(got, want) {
				t.Errorf("files: got %q, want %q", got, want)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenDirErrors(t *testing.T) {
	mapped := func(file string) map[string]string {
		return map[string]string{indexName: `{"weight_map":{"a":"` + file + `"}}`}
	}
	for name, c := range map[string]struct {
		contents map[string]string
		want     []string
	}{
		"nothing":            {nil, []string{"no model.safetensors and no model.safetensors.index.json: it has no weights at all"}},
		"PyTorch only":       {map[string]string{"pytorch_model.bin": "", "config.json": ""}, []string{"only pytorch_model.bin is there, and safetensors wanted; litgpt convert DIR DIR2 writes that"}},
		"PyTorch shards":     {map[string]string{"pytorch_model.bin.index.json": ""}, []string{"only pytorch_model.bin.index.json is there"}},
		"LitGPT only":        {map[string]string{"lit_model.pth": ""}, []string{"lit_model.pth is there, but without model_config.yaml"}},
		"a PyTorch shard":    {map[string]string{"pytorch_model-00001-of-00002.bin": ""}, []string{"without pytorch_model.bin.index.json; download that file"}},
		"another .pth":       {map[string]string{"model.pth": ""}, []string{"only model.pth is there; rename it to pytorch_model.bin"}},
		"GGUF only":          {map[string]string{"m-Q4.gguf": ""}, []string{"only m-Q4.gguf is there; name that file"}},
		"another name":       {map[string]string{"consolidated.safetensors": "", "pytorch_model.bin": ""}, []string{"consolidated.safetensors is there; rename it to model.safetensors"}},
		"shards, no index":   {map[string]string{shard1: ""}, []string{shard1 + " is there, but without model.safetensors.index.json"}},
		"broken file":        {map[string]string{"model.safetensors": "{}"}, []string{"model.safetensors: has 2 bytes"}},
		"broken index":       {map[string]string{indexName: `{"weight_map":{`}, []string{indexName + ": index ends in the middle of its JSON"}},
		"no index":           {map[string]string{indexName: ``}, []string{"index ends in the middle"}},
		"broken metadata":    {map[string]string{indexName: `{"metadata":{1}}`}, []string{indexName + `: "metadata": invalid character`}},
		"junk behind":        {map[string]string{indexName: `{"weight_map":{}}{}`}, []string{"index has an object behind its JSON"}},
		"weight_map empty":   {map[string]string{indexName: `{"weight_map":{}}`}, []string{"has no weight_map, or an empty one"}},
		"weight_map missing": {map[string]string{indexName: `{}`}, []string{"has no weight_map, or an empty one"}},
		"weight_map array":   {map[string]string{indexName: `{"weight_map":[]}`}, []string{"weight_map is an array, want an object"}},
		"weight_map number":  {map[string]string{indexName: `{"weight_map":{"a":1}}`}, []string{`the file of "a" is the number "1", want a string`}},
		"tensor twice":       {map[string]string{indexName: `{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}`}, []string{`weight_map has the key "a" twice`}},
		"parent":             {mapped("../x.safetensors"), []string{`tensor "a": file "../x.safetensors" is not a plain path below`}},
		"parent below":       {mapped("w/../../x.safetensors"), []string{"is not a plain path"}},
		"absolute":           {mapped("/x.safetensors"), []string{"is not a plain path"}},
		"drive":              {mapped("C:x.safetensors"), []string{"is not a plain path"}},
		"backslash":          {mapped(`..\\x.safetensors`), []string{"is not a plain path"}},
		"NUL":                {mapped(`x\u0000.safetensors`), []string{"is not a plain path"}},
		"empty name":         {mapped(""), []string{"is not a plain path"}},
		"not safetensors":    {mapped("pytorch_model-00001-of-00002.bin"), []string{"is not a .safetensors file"}},
		"everything at once": {map[string]string{
			indexName:       `{"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors","d":"3.safetensors","e":"4.safetensors","f":"4.safetensors"}}`,
			"1.safetensors": u8s(t, "a", "x", "c"), "2.safetensors": "broken!!", "3.safetensors": u8s(t, "d"),
		}, []string{
			indexName + ": does not fit its shards; download the checkpoint again:\n",
			"\t1.safetensors: has no \"b\", which the index says it has\n",
			"\t1.safetensors: has \"x\", \"c\", which the index does not say is there\n",
			"2.safetensors: header of ",
			"\t4.safetensors: missing, with 2 tensors",
		}},
		"many": {map[string]string{indexName: `{"weight_map":{"a":"1.safetensors"}}`,
			"1.safetensors": u8s(t, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k")}, []string{`"h", "i" and 2 more, which the index`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := files(t, c.contents)
			d, err := OpenDir(dir)
			if err == nil {
				d.Close()
				t.Fatal("opened")
			}
			if !strings.HasPrefix(err.Error(), dir) {
				t.Errorf("got %v, want the directory first", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
			}
		})
	}
}

func TestOpenDirNoDirectory(t *testing.T) {
	file := save(t, "x", nil)
	if _, err := OpenDir(file); err == nil || !strings.HasPrefix(err.Error(), file+": ") {
		t.Errorf("file: got %v", err)
	}
	missing := filepath.Join(t.TempDir(), "x")
	if _, err := OpenDir(missing); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), missing+": ") {
		t.Errorf("missing: got %v", err)
	}
	dangling := t.TempDir() // as in a download cache whose blob was deleted
	if err := os.Symlink("blob", filepath.Join(dangling, singleName)); err != nil {
		t.Skipf("no links here: %v", err)
	}
	if _, err := OpenDir(dangling); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), singleName+": ") {
		t.Errorf("dangling link: got %v", err)
	}
}

// FuzzIndex: whatever the bytes, an index names plain files below its directory, each
// once and with tensors, and each tensor once.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(index2))
	for _, s := range []string{``, `{}`, `{"weight_map":{"a":"../x.safetensors"}}`, `{"metadata":[[[{}]]],"weight_map":{"a":"\u002e./x.safetensors"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		shards, err := parseIndex(text)
		if err != nil {
			return
		}
		files, tensors := map[string]bool{}, map[string]bool{}
		for _, s := range shards {
			if files[s.name] || len(s.tensors) == 0 || !filepath.IsLocal(s.name) || slices.Contains(strings.Split(s.name, "/"), "..") {
				t.Fatalf("shard %q with %d tensors", s.name, len(s.tensors))
			}
			files[s.name] = true
			for _, n := range s.tensors {
				if tensors[n] {
					t.Fatalf("tensor %q twice", n)
				}
				tensors[n] = true
			}
		}
	})
}
