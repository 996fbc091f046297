package quantize

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// Golden files are of llama-quantize: to make them, set LITGPT_LLAMACPP to the directory of llama.cpp's
// programs, a build for any x86-64, and run the tests with -update.
var (
	update   = flag.Bool("update", false, "write testdata from what llama-quantize does")
	llamacpp = os.Getenv("LITGPT_LLAMACPP")
)

// golden reads a file of testdata, or makes it.
func golden[T any](t *testing.T, name string, make func() T) (want T) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if llamacpp == "" {
			t.Fatal("-update wants LITGPT_LLAMACPP")
		}
		b, err := json.MarshalIndent(make(), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// tokens is a vocabulary without which llama.cpp reads no model.
func tokens(p *Plan, n int) {
	list, scores, types := make([]string, n), make([]float32, n), make([]int32, n)
	for i := range list {
		list[i], types[i] = fmt.Sprintf("<%d>", i), 1
	}
	p.Metadata = gguf.SetKV(p.Metadata, gguf.KV{Key: "tokenizer.ggml.model", Value: "llama"}, gguf.KV{Key: "tokenizer.ggml.tokens", Value: list},
		gguf.KV{Key: "tokenizer.ggml.scores", Value: scores}, gguf.KV{Key: "tokenizer.ggml.token_type", Value: types})
}

// original writes the model in F32.
func original(t *testing.T, config string) string {
	t.Helper()
	e, _ := exported(t, config)
	p, err := Choose(e, Config{Mixture: mixture(t, "F32")})
	if err != nil {
		t.Fatal(err)
	}
	tokens(p, 300)
	path := filepath.Join(t.TempDir(), "f32.gguf")
	if err := p.Write(context.Background(), path, 2, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

var line = regexp.MustCompile(`] +(\S+) +- \[.*size =.*\((\w+)\)`)

// planned gives the types that llama-quantize would give tensors.
func planned(t *testing.T, in, mixture string, flags ...string) map[string]string {
	t.Helper()
	cmd := exec.Command(filepath.Join(llamacpp, "llama-quantize"), append(append([]string{"--dry-run"}, flags...), in, mixture, "1")...)
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, b)
	}
	types := map[string]string{}
	for _, m := range line.FindAllStringSubmatch(string(b), -1) {
		types[m[1]] = strings.ToUpper(m[2])
	}
	if len(types) == 0 {
		t.Fatalf("%v: no types in\n%s", cmd.Args, b)
	}
	return types
}

// llamaQuantize runs it.
func llamaQuantize(t *testing.T, in, out, mixture string, flags ...string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(llamacpp, "llama-quantize"), append(flags, in, out, mixture, "1")...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, b)
	}
}

// read gives the types of a file's tensors and hashes of their values.
func read(t *testing.T, path string) (types, sums map[string]string) {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	types, sums = map[string]string{}, map[string]string{}
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		sum := sha256.Sum256(x.Data)
		types[name], sums[name] = x.Type.String(), hex.EncodeToString(sum[:6])
	}
	return types, sums
}

// brief keeps golden files short: the commonest type is "rest", others have the layers of each kind of
// tensor: "attn_v": "Q6_K 0-1 4 7".
func brief(types map[string]string) map[string]string {
	count := map[string]int{}
	rest := ""
	for _, name := range slices.Sorted(maps.Keys(types)) {
		typ := types[name]
		if typ == "F32" {
			continue
		}
		if count[typ]++; count[typ] > count[rest] {
			rest = typ
		}
	}
	layers := map[string][]int{} // by "attn_v Q6_K"
	out := map[string]string{"rest": rest}
	for name, typ := range types {
		name = strings.TrimSuffix(name, ".weight")
		if typ == "F32" || typ == rest {
			continue
		}
		if number, kind, ok := strings.Cut(strings.TrimPrefix(name, "blk."), "."); ok {
			n, _ := strconv.Atoi(number)
			layers[kind+" "+typ] = append(layers[kind+" "+typ], n)
		} else {
			out[name] = typ
		}
	}
	for _, key := range slices.Sorted(maps.Keys(layers)) {
		kind, typ, _ := strings.Cut(key, " ")
		list := layers[key]
		slices.Sort(list)
		text := typ
		for i := 0; i < len(list); {
			j := i
			for j+1 < len(list) && list[j+1] == list[j]+1 {
				j++
			}
			text += fmt.Sprintf(" %d", list[i])
			if j > i {
				text += fmt.Sprintf("-%d", list[j])
			}
			i = j + 1
		}
		out[kind] = strings.TrimSpace(out[kind] + " " + text)
	}
	return out
}

// importance of every column of every matrix, none alike.
func someImportance(tb testing.TB, config string) *Importance {
	e, _ := exported(tb, config)
	m := Uniform(e)
	for name, entry := range m.Entries {
		for i := range entry.Sums {
			entry.Sums[i] = float64(float32(1+(i*7919+len(name)*31)%97) / 16)
		}
	}
	m.Chunks, m.ChunkSize, m.Datasets = 1, 1, []string{"none"}
	return m
}

// TestTypesAsLlamaQuantize compares the type of every tensor, of models that meet each of the rules.
func TestTypesAsLlamaQuantize(t *testing.T) {
	type types map[string]map[string]string // by mixture, then type
	want := golden(t, "types.json", func() map[string]types {
		all := map[string]types{}
		for name, config := range configs {
			all[name] = types{}
			in, im := original(t, config), filepath.Join(t.TempDir(), "imatrix.gguf")
			if err := someImportance(t, config).Write(im); err != nil {
				t.Fatal(err)
			}
			for _, m := range mixtures {
				if m.Name == "MXFP4" || m.Name == "F32" { // the first is ours alone
					continue
				}
				if !needs(m.Name) {
					all[name][m.Name] = brief(planned(t, in, m.Name))
				}
				all[name][m.Name+"+importance"] = brief(planned(t, in, m.Name, "--imatrix", im))
			}
		}
		return all
	})
	for name, list := range want {
		for key, want := range list {
			mix, suffix, _ := strings.Cut(key, "+")
			e, _ := exported(t, configs[name])
			c := Config{Mixture: mixture(t, mix)}
			if suffix != "" {
				c.Importance = someImportance(t, configs[name])
			}
			p, err := Choose(e, c)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, key, err)
			}
			got := map[string]string{}
			for _, x := range p.Tensors {
				got[x.Name] = x.To.String()
			}
			if b := brief(got); !maps.Equal(b, want) {
				t.Errorf("%s, %s:\ngot  %v\nwant %v", name, key, b, want)
			}
		}
	}
}

func needs(mixture string) bool {
	return mixture == "Q2_K_S" || strings.HasPrefix(mixture, "IQ1") || strings.HasPrefix(mixture, "IQ2") || strings.HasPrefix(mixture, "IQ3_XX") || mixture == "IQ3_XS"
}

// TestBytesAsLlamaQuantize compares the values of whole files.
func TestBytesAsLlamaQuantize(t *testing.T) {
	kinds := []string{"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4_MOE", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "F16", "BF16"}
	for _, name := range []string{"moe", "odd"} {
		dir := t.TempDir()
		var in, im string
		run := func(key string) map[string]string {
			if in == "" {
				in, im = original(t, configs[name]), filepath.Join(dir, "imatrix.gguf")
				if err := someImportance(t, configs[name]).Write(im); err != nil {
					t.Fatal(err)
				}
			}
			mix, suffix, _ := strings.Cut(key, "+")
			out := filepath.Join(dir, "theirs.gguf")
			var flags []string
			if suffix != "" {
				flags = []string{"--imatrix", im}
			}
			llamaQuantize(t, in, out, mix, flags...)
			_, sums := read(t, out)
			return sums
		}
		want := golden(t, "bytes-"+name+".json", func() map[string]string {
			all := map[string]string{}
			for _, k := range kinds {
				for _, key := range []string{k, k + "+importance"} {
					all[key] = digest(run(key))
				}
			}
			return all
		})
		if len(want) != 2*len(kinds) {
			t.Fatalf("%d golden sums, want %d", len(want), 2*len(kinds))
		}
		e, _ := exported(t, configs[name])
		for key, want := range want {
			mix, suffix, _ := strings.Cut(key, "+")
			c := Config{Mixture: mixture(t, mix)}
			if suffix != "" {
				c.Importance = someImportance(t, configs[name])
			}
			p, err := Choose(e, c)
			if err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, "ours.gguf")
			if err := p.Write(context.Background(), out, 3, nil); err != nil {
				t.Fatal(err)
			}
			_, got := read(t, out)
			if digest(got) == want {
				continue
			}
			t.Errorf("%s, %s: the values are not llama-quantize's", name, key)
			if llamacpp != "" {
				for tensor, sum := range run(key) {
					if got[tensor] != sum {
						t.Errorf("%s differs", tensor)
					}
				}
			}
		}
	}
}

// digest is one hash of many.
func digest(sums map[string]string) string {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintln(&b, name, sums[name])
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:])
}
