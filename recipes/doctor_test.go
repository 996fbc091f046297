package recipes

import (
	"encoding/json"
	"io/fs"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/litgpt-go/litgpt/internal/tensor"
)

// What is wrong with machines of several kinds, and which of it is a failure.
func TestJudge(t *testing.T) {
	gpu := []tensor.GPU{{Index: 0, Name: "NVIDIA H200", Compute: "9.0", Free: 130 << 30, Total: 140 << 30}}
	busy := []tensor.GPU{{Index: 1, Name: "NVIDIA H200", Compute: "9.0", Free: 3 << 30, Total: 140 << 30}}
	const lib = "/x/libggml-cuda.so"
	for name, tt := range map[string]struct {
		slow, visible, kernel string
		free                  int
		cuda                  tensor.CUDAInfo
		want                  []string // beginnings of the warnings; "!" before what is broken
		advice                string   // part of the last one's
	}{
		"no GPU":            {free: 8 << 30, cuda: tensor.CUDAInfo{Problem: "no libggml-cuda.so"}},
		"a GPU":             {free: 8 << 30, kernel: "580.65.06", cuda: tensor.CUDAInfo{Path: lib, Build: "nvcc", Driver: "13.0", Devices: gpu}},
		"slow build":        {free: 8 << 30, slow: "built without avx2", want: []string{"built without avx2"}, advice: "make build"},
		"little memory":     {free: 1 << 30, want: []string{"little memory: 1.0 GiB free of 64.0 GiB"}, advice: "--precision bf16-true"},
		"a GPU in use":      {free: 8 << 30, kernel: "580.65.06", cuda: tensor.CUDAInfo{Path: lib, Build: "nvcc", Driver: "13.0", Devices: busy}, want: []string{"GPU 1 has 3.0 GiB free of 140.0 GiB"}, advice: "nvidia-smi"},
		"no library":        {free: 8 << 30, kernel: "580.65.06", cuda: tensor.CUDAInfo{Problem: "no libggml-cuda.so"}, want: []string{"there is an NVIDIA driver, and no CUDA library: no libggml"}, advice: "make cuda"},
		"no driver":         {free: 8 << 30, cuda: tensor.CUDAInfo{Path: lib, Build: "nvcc", Problem: "no NVIDIA driver"}, want: []string{"no NVIDIA driver"}, advice: "install"},
		"container":         {free: 8 << 30, kernel: "580.65.06", cuda: tensor.CUDAInfo{Path: lib, Build: "nvcc", Problem: "no NVIDIA driver"}, want: []string{"!no NVIDIA driver"}, advice: "--gpus all"},
		"other library":     {free: 8 << 30, kernel: "580.65.06", cuda: tensor.CUDAInfo{Path: lib, Problem: "made for another version"}, want: []string{"!made for another"}, advice: "docs/cuda.md"},
		"no driver, other":  {free: 8 << 30, cuda: tensor.CUDAInfo{Path: lib, Problem: "made for another version"}, want: []string{"made for another"}, advice: "without a GPU"},
		"driver too old":    {free: 8 << 30, kernel: "450.1", cuda: tensor.CUDAInfo{Path: lib, Build: "nvcc", Driver: "11.0", Problem: "no usable GPU: driver too old"}, want: []string{"!no usable GPU"}, advice: "docs/cuda.md"},
		"driver, no GPU":    {free: 8 << 30, cuda: tensor.CUDAInfo{Path: lib, Build: "nvcc", Driver: "13.0", Problem: "no usable GPU"}, want: []string{"no usable GPU"}, advice: "without a GPU"},
		"hidden":            {free: 8 << 30, kernel: "580.65.06", visible: "-1", cuda: tensor.CUDAInfo{Path: lib, Build: "nvcc", Driver: "13.0", Problem: "no GPU"}, want: []string{"no GPU"}, advice: "CUDA_VISIBLE_DEVICES=-1"},
		"memory not known":  {},
		"several at a time": {free: 1, slow: "slow", kernel: "580.65.06", cuda: tensor.CUDAInfo{Path: lib, Problem: "bad"}, want: []string{"slow", "little memory", "!bad"}, advice: "docs/cuda.md"},
	} {
		d := diagnosis{Kernel: tt.kernel, CUDA: tt.cuda}
		if tt.free > 0 {
			d.Memory.Free, d.Memory.Total = tt.free, 64<<30
		}
		d.judge(tt.slow, tt.visible)
		ok := len(d.Warnings) == len(tt.want)
		for i, w := range d.Warnings {
			if ok {
				want, broken := strings.CutPrefix(tt.want[i], "!")
				ok = w.broken == broken && strings.HasPrefix(w.Problem, want) && w.Advice != ""
			}
		}
		if ok && len(tt.want) > 0 {
			ok = strings.Contains(d.Warnings[len(d.Warnings)-1].Advice, tt.advice)
		}
		if !ok {
			t.Errorf("%s: got %+v, want %q, the last with the advice %q", name, d.Warnings, tt.want, tt.advice)
		}
	}
}

func TestDiagnosisText(t *testing.T) {
	d := diagnosis{Version: "litgpt v1", GGML: "example.com/ggml v2", Build: []string{"CGO_CFLAGS=-O3", "GOAMD64=v3"}, Kernel: "580.65.06",
		CUDA: tensor.CUDAInfo{Searched: []string{"/a/lib.so", "/b/lib.so", "/c/lib.so"}, Path: "/b/lib.so", Build: "nvcc 13.0, sm_90", Driver: "13.0",
			Devices: []tensor.GPU{{Index: 0, Name: "NVIDIA H200", Compute: "9.0", Free: 130 << 30, Total: 140 << 30}, {Index: 1, Name: "Tesla", Compute: "7.5", Total: 16 << 30}}},
		Operations: []tensor.OpPlace{{Op: "matmul", CPU: "ours", CUDA: "cuBLAS"}, {Op: "add", CPU: "GGML", CUDA: "ggml-cuda"}},
		Warnings:   []warning{{"slow", "faster", false}, {"bad", "repair", true}}}
	d.CPU.Model, d.CPU.Processors, d.CPU.Compiled, d.CPU.Present = "EPYC", 16, []string{"avx2"}, []string{"avx2", "avx512"}
	d.Memory.Free, d.Memory.Total = 3<<29, 4<<30
	const want = `program   litgpt v1
GGML      example.com/ggml v2
build     CGO_CFLAGS=-O3
          GOAMD64=v3
CPU       EPYC, 16 processors
          has avx2 avx512; this program uses avx2
memory    1.5 GiB free of 4.0 GiB
library   /a/lib.so: not there
          /b/lib.so: found
          nvcc 13.0, sm_90
driver    CUDA 13.0, kernel module 580.65.06
GPU       cuda:0 NVIDIA H200, compute capability 9.0, 130.0 GiB free of 140.0 GiB
          cuda:1 Tesla, compute capability 7.5, 16.0 GiB

operation  on the CPU  on a GPU
matmul     ours        cuBLAS
add        GGML        ggml-cuda

warning: slow
   hint: faster
`
	var b strings.Builder
	if err := d.write(&b); err != nil || b.String() != want {
		t.Errorf("got %v and\n%s\nwant\n%s", err, b.String(), want)
	}
	var empty strings.Builder
	if err := new(diagnosis).write(&empty); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nmemory    unknown\n", "\ndriver    none\n", "\nGPU       none: no device\n", "unknown model, 0 processors"} {
		if !strings.Contains(empty.String(), want) {
			t.Errorf("of nothing: got\n%s\nwant in it %q", empty.String(), want)
		}
	}
}

func TestMachineFiles(t *testing.T) {
	file := func(name, text string) fs.FS { return fstest.MapFS{name: {Data: []byte(text)}} }
	none := fstest.MapFS{}
	for _, tt := range []struct{ what, got, want string }{
		{"open module", kernelDriver(file("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs)\nGCC version: gcc 12.3.0\n")), "580.65.06"},
		{"closed module", kernelDriver(file("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Sat Feb 24 2024\n")), "535.161.08"},
		{"odd module", kernelDriver(file("proc/driver/nvidia/version", "NVRM\n")), "unknown"},
		{"WSL", kernelDriver(file("dev/dxg", "")), "of Windows"},
		{"no module", kernelDriver(none), ""},
		{"processor", cpuModel(file("proc/cpuinfo", "processor\t: 0\nmodel\t\t: 1\nmodel name\t: AMD EPYC: 9\nmodel name\t: other\n")), "AMD EPYC: 9"},
		{"no name", cpuModel(file("proc/cpuinfo", "processor\t: 0\n")), ""},
		{"no /proc", cpuModel(none), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, tt.got, tt.want)
		}
	}
}

func TestBuilt(t *testing.T) {
	module, build := built(&debug.BuildInfo{Deps: []*debug.Module{{Path: "a", Version: "v1"}, {Path: "github.com/ollama/ollama", Version: "v0.24.0"}},
		Settings: []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "CGO_CFLAGS", Value: "-O3 -march=native"}, {Key: "CGO_LDFLAGS"}, {Key: "GOAMD64", Value: "v1"}}})
	if want := []string{"CGO_CFLAGS=-O3 -march=native", "GOAMD64=v1"}; module != "github.com/ollama/ollama v0.24.0" || !slices.Equal(build, want) {
		t.Errorf("got %q and %q, want github.com/ollama/ollama v0.24.0 and %q", module, build, want)
	}
}

// What scripts read keeps its names.
func TestDiagnosisJSON(t *testing.T) {
	d := diagnosis{Operations: []tensor.OpPlace{{Op: "a", CPU: "b", CUDA: "c"}}, Warnings: []warning{{"p", "q", true}}}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for k := range got {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if want := []string{"build", "cpu", "cuda", "ggml", "go", "kernel_driver", "memory", "operations", "version", "warnings"}; !slices.Equal(keys, want) {
		t.Errorf("got keys %q, want %q", keys, want)
	}
	if want := map[string]any{"problem": "p", "advice": "q"}; !reflect.DeepEqual(got["warnings"].([]any)[0], want) {
		t.Errorf("got warning %v, want %v", got["warnings"], want)
	}
}
