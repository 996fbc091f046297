package main

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/litgpt-go/litgpt/internal/cudatest"
)

// TestCUDA runs the commands on a GPU, the emulated one included: training gives
// the CPU's losses, a run that is resumed gives the bits of one that was not, and
// what was trained answers as on the CPU, on one GPU and on two.
func TestCUDA(t *testing.T) {
	for name, lib := range cudatest.Libraries(t) {
		t.Run(name, func(t *testing.T) {
			tiny(t) // made on the CPU
			t.Setenv("LITGPT_LIB", lib)
			for _, tt := range []struct {
				name, precision string
				tolerance       float64 // relative, of the losses
				args            []string
			}{
				{"lora", "32-true", 1e-4, finetuneArgs(t, "finetune_lora", 4, 2)},
				{"lora in bf16", "bf16-true", 1e-2, finetuneArgs(t, "finetune_lora", 4, 2, "--lora_mlp", "true", "--recompute", "true")},
				{"full", "32-true", 1e-4, finetuneArgs(t, "finetune_full", 4, 2)},
				{"pretrain in bf16", "bf16-mixed", 1e-2, pretrainArgs(t, 4, 2)},
			} {
				t.Run(tt.name, func(t *testing.T) {
					if name == "emulated" && tt.name != "lora in bf16" && os.Getenv("LITGPT_SLOW") == "" {
						t.Skip("slow on the emulator; LITGPT_SLOW=1 runs it")
					}
					args := append(tt.args, "--precision", tt.precision)
					cpu := t.TempDir()
					ok(t, litgpt(t, cpu, append(args, "--device", "cpu")...))
					args = append(args, "--device", "cuda")
					whole := t.TempDir()
					r := ok(t, litgpt(t, whole, args...))
					if !strings.Contains(r.stderr, "device=cuda:0") {
						t.Fatalf("got stderr\n%s\nwant it to run on cuda:0", r.stderr)
					}
					got, want := losses(t, whole), losses(t, cpu)
					if len(got) == 0 || len(got) != len(want) {
						t.Fatalf("got losses %v, on the CPU %v", got, want)
					}
					for i := range got {
						if d := math.Abs(got[i]-want[i]) / want[i]; !(d <= tt.tolerance) {
							t.Errorf("step %d: loss %g, on the CPU %g", i+1, got[i], want[i])
						}
					}
					// Stopped after step 2 and resumed.
					half := t.TempDir()
					for _, step := range files(t, filepath.Join(whole, "out")) {
						if strings.HasPrefix(step, "step-") && strings.Contains(step, "02"+string(filepath.Separator)) {
							write(t, filepath.Join(half, "out", step), read(t, filepath.Join(whole, "out", step)))
						}
					}
					r = ok(t, litgpt(t, half, append(args, "--resume", "auto")...))
					if !strings.Contains(r.stderr, "step=2 of=4") {
						t.Fatalf("got stderr\n%s\nwant it to resume from step 2", r.stderr)
					}
					same(t, filepath.Join(half, "out", "final"), filepath.Join(whole, "out", "final"))
				})
			}
			t.Run("generate", func(t *testing.T) {
				ask := func(more ...string) string {
					args := append([]string{"generate", tiny(t), "--token_ids", "[3,14,15,92,6]", "--max_new_tokens", "12", "--top_k", "1", "--json"}, more...)
					return ok(t, litgpt(t, t.TempDir(), args...)).stdout
				}
				want := ask("--device", "cpu")
				for _, more := range [][]string{{"--device", "cuda"}, {}, {"--device", "cuda", "--kv_cache", "f16"}, {"--devices", "2"}} {
					if name == "gpu" && len(more) == 2 && more[0] == "--devices" && gpusOf(t) < 2 {
						continue
					}
					if got := ask(more...); got != want {
						t.Errorf("%v: got %s, on the CPU %s", more, got, want)
					}
				}
				sampled := func(more ...string) string { return ask(append(more, "--top_k", "5", "--temperature", "0.7")...) }
				if got, want := sampled("--device", "cuda"), sampled("--device", "cpu"); got != want {
					t.Errorf("sampled: got %s, on the CPU %s", got, want)
				}
			})
			t.Run("score", func(t *testing.T) {
				score := func(device string) float64 {
					r := ok(t, litgpt(t, t.TempDir(), "score", tiny(t), "--token_ids", "[[3,14,15,92,6,5,35]]", "--device", device))
					m := regexp.MustCompile(`"perplexity":([0-9.]+)`).FindStringSubmatch(r.stdout)
					x, err := strconv.ParseFloat(m[1], 64)
					check(t, err)
					return x
				}
				if got, want := score("cuda"), score("cpu"); math.Abs(got-want) > 1e-4*want {
					t.Errorf("perplexity %g, on the CPU %g", got, want)
				}
			})
		})
	}
}

// TestCUDABroken: what cannot be read from a device is an error, and nothing is made of it.
func TestCUDABroken(t *testing.T) {
	tiny(t)
	t.Setenv("LITGPT_LIB", cudatest.Emulated(t))
	t.Setenv("LITGPT_EMULATE_BROKEN", "1")
	for _, args := range [][]string{
		{"generate", tiny(t), "--token_ids", "[1,2]", "--max_new_tokens", "1", "--json"},
		{"score", tiny(t), "--token_ids", "[[3,14,15]]"},
		finetuneArgs(t, "finetune_lora", 2, 1),
		{"merge_lora", "out/final"},
	} {
		t.Run(args[0], func(t *testing.T) {
			dir := t.TempDir()
			if args[0] == "merge_lora" {
				t.Setenv("LITGPT_EMULATE_BROKEN", "0")
				ok(t, litgpt(t, dir, append(finetuneArgs(t, "finetune_lora", 1, 1), "--device", "cpu")...))
				t.Setenv("LITGPT_EMULATE_BROKEN", "1")
			}
			before := files(t, filepath.Join(dir, "out"))
			fails(t, litgpt(t, dir, append(args, "--device", "cuda")...), 1, "litgpt: error: ", "cuda:0")
			for _, name := range files(t, filepath.Join(dir, "out")) {
				if !slices.Contains(before, name) && strings.HasSuffix(name, ".safetensors") {
					t.Errorf("%s was left behind", name)
				}
			}
		})
	}
}

func gpusOf(t *testing.T) int {
	r := ok(t, litgpt(t, t.TempDir(), "doctor", "--json"))
	return strings.Count(r.stdout, `"compute"`)
}

// TestCUDAMissing is what the program says without a GPU that works: one line, and
// it runs on the CPU unless --device cuda was asked for.
func TestCUDAMissing(t *testing.T) {
	tiny(t)
	lib := cudatest.Emulated(t)
	broken := filepath.Join(t.TempDir(), "libggml-cuda.so")
	write(t, broken, []byte("no library"))
	other := filepath.Join(t.TempDir(), "other.so") // a library of another GGML
	source := filepath.Join(t.TempDir(), "other.c")
	write(t, source, []byte(`#include "cudalib.h"
struct api { int abi; const char *ggml, *build; unsigned long tensor; } api = {LG_CUDA_ABI, "github.com/ollama/ollama v0.0.1", "", 0};
const void *litgpt_cuda(void) { return &api; }
`))
	if out, err := exec.Command("gcc", "-I", "../../internal/ggml", "-shared", "-fPIC", "-o", other, source).CombinedOutput(); err != nil {
		t.Skipf("gcc: %v\n%s", err, out)
	}
	for _, tt := range []struct {
		name, lib, devices, want string
	}{
		{"no library", filepath.Join(t.TempDir(), "none.so"), "", "`make cuda` builds it"},
		{"no driver", lib, "-1", "no NVIDIA driver"},
		{"no GPU", lib, "0", "no usable GPU: no CUDA-capable device is detected"},
		{"no such GPU", lib, "1", ""},
		{"no library of ours", broken, "", "the CUDA library cannot be used"},
		{"another GGML", other, "", "is made from GGML of github.com/ollama/ollama v0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("LITGPT_LIB", tt.lib)
			os.Unsetenv("LITGPT_EMULATE_DEVICES")
			if tt.devices != "" {
				t.Setenv("LITGPT_EMULATE_DEVICES", tt.devices)
			}
			args := []string{"generate", tiny(t), "--token_ids", "[1,2]", "--max_new_tokens", "1", "--json"}
			if tt.want == "" {
				fails(t, litgpt(t, t.TempDir(), append(args, "--device", "cuda:1")...), 1, "device cuda:1: there are 1 GPUs")
				return
			}
			fails(t, litgpt(t, t.TempDir(), append(args, "--device", "cuda")...), 1, "litgpt: error: ", tt.want)
			for _, more := range [][]string{{"--device", "auto"}, {"--device", "cpu"}} {
				r := ok(t, litgpt(t, t.TempDir(), append(args, more...)...))
				if said := strings.Contains(r.stderr, tt.want); said != (more[1] == "auto") || !strings.Contains(r.stderr, "device=cpu") {
					t.Errorf("%v: got stderr\n%s", more, r.stderr)
				}
				if strings.Count(r.stderr, "\n") != 2 { // what runs where, and that it is done
					t.Errorf("%v: got stderr\n%s\nwant two lines", more, r.stderr)
				}
			}
		})
	}
}
