// Package tools holds the tests of the scripts beside it. Compilers, drivers and
// the program are stand-ins here: what the scripts do with them is what is tested.
package tools

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// place is a copy of what the scripts need of the repository, with a folder
// fakes/ at the head of PATH.
type place struct {
	*testing.T
	dir string
}

func newPlace(t *testing.T) place {
	t.Helper()
	for _, program := range []string{"bash", "awk", "timeout"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	p := place{t, t.TempDir()}
	for _, name := range []string{"tools/cuda.sh", "tools/gpu.sh", "go.mod"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		p.write(name, string(text))
	}
	return p
}

// write makes a file; text that begins with #! or lies in tools/ can be run.
func (p place) write(name, text string) {
	p.Helper()
	name = filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o777); err != nil {
		p.Fatal(err)
	}
}

func (p place) read(name string) string {
	p.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		p.Fatal(err)
	}
	return string(text)
}

// run runs a script with an environment of its own and gives its exit code and what it said.
func (p place) run(env []string, name string, args ...string) (int, string) {
	p.Helper()
	c := exec.Command(filepath.Join(p.dir, name), args...)
	c.Env = append([]string{"PATH=" + filepath.Join(p.dir, "fakes") + ":/usr/bin:/bin", "HOME=" + p.dir}, env...)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

const (
	nvcc = `#!/bin/sh
[ "$1" = --list-gpu-arch ] && printf 'compute_80\ncompute_90\n'
exit 0
`
	// cmake notes its arguments, and builds a library into the folder of -B.
	cmake = `#!/bin/sh
here=$(dirname "$0")
echo "$@ LIBRARY_PATH=$LIBRARY_PATH" >>"$here/cmake.log"
[ -z "$FAIL" ] || case "$*" in *"$FAIL"*) echo "CMake Error: broken on purpose"; exit 1;; esac
case "$1" in --build) echo library >"$2/libggml-cuda.so";; esac
`
	smi = `#!/bin/sh
case "$*" in
-L) echo "GPU 0: Stand-in (UUID: 0)" ;;
*memory.used*) echo 17 ;;
*compute_cap*) printf '9.0\n9.0\n' ;;
*) echo "Stand-in" ;;
esac
`
)

// cuda gives a place where everything is there that cuda.sh needs.
func cuda(t *testing.T) place {
	p := newPlace(t)
	p.write("fakes/nvcc", nvcc)
	p.write("fakes/cmake", cmake)
	p.write("fakes/ninja", "#!/bin/sh\n")
	p.write("fakes/g++", "#!/bin/sh\n")
	p.write("ggml/src/ggml-cuda/ggml-cuda.cu", "")
	return p
}

func TestCUDABuild(t *testing.T) {
	wheel := func(p place) { p.write("wheels/lib/python3.11/site-packages/nvidia/cu13/bin/nvcc", nvcc) }
	for name, tt := range map[string]struct {
		env    []string
		change func(p place)
		fails  string   // the one line, in which $DIR is the place
		calls  []string // what cmake got
	}{
		"for a list":     {env: []string{"CUDA_ARCH=80;90"}, calls: []string{"-DCMAKE_CUDA_ARCHITECTURES=80;90 LIBRARY_PATH=\n", "-G Ninja", "-DLITGPT_GGML=github.com/ollama/ollama v0.24.0", "-DGGML_DIR=$DIR/ggml ", "-DCMAKE_CUDA_COMPILER=$DIR/fakes/nvcc"}},
		"list by spaces": {env: []string{"CUDA_ARCH=80 90"}, calls: []string{"ARCHITECTURES=80;90 "}},
		"for the GPU":    {change: func(p place) { p.write("fakes/nvidia-smi", smi) }, calls: []string{"ARCHITECTURES=90 "}},
		"wheels": {env: []string{"CUDA_ARCH=90", "CUDA_WHEELS=wheels"}, change: func(p place) {
			wheel(p)
			p.write("wheels/lib/python3.11/site-packages/nvidia/cu13/lib/libcublas.so.13", "")
		}, calls: []string{"LIBRARY_PATH=$DIR/wheels/lib/python3.11/site-packages/nvidia/cu13/lib\n", "-DCMAKE_CUDA_COMPILER=$DIR/wheels/lib/python3.11/site-packages/nvidia/cu13/bin/nvcc"}},
		"NVCC":             {env: []string{"CUDA_ARCH=90", "NVCC=./other/bin/nvcc"}, change: func(p place) { p.write("other/bin/nvcc", nvcc) }, calls: []string{"COMPILER=$DIR/other/bin/nvcc"}},
		"CUDA_HOME":        {env: []string{"CUDA_ARCH=90", "CUDA_HOME=home"}, change: func(p place) { p.write("home/bin/nvcc", nvcc) }, calls: []string{"COMPILER=$DIR/home/bin/nvcc"}},
		"no GPU":           {fails: "no GPU here: set CUDA_ARCH, e.g. CUDA_ARCH=90"},
		"bad architecture": {env: []string{"CUDA_ARCH=hopper"}, fails: `CUDA_ARCH=hopper: numbers as 90 or "80;90" wanted`},
		"old architecture": {env: []string{"CUDA_ARCH=90;70"}, fails: "$DIR/fakes/nvcc cannot compile for 70; it knows 80 90 "},
		"broken nvcc":      {env: []string{"CUDA_ARCH=90"}, change: func(p place) { p.write("fakes/nvcc", "#!/bin/sh\nexit 1\n") }, fails: "$DIR/fakes/nvcc does not run; try: $DIR/fakes/nvcc --version"},
		"no such NVCC":     {env: []string{"CUDA_ARCH=90", "NVCC=nowhere"}, fails: "NVCC=nowhere is no program"},
		"no such home":     {env: []string{"CUDA_ARCH=90", "CUDA_HOME=nowhere"}, fails: "CUDA_HOME=nowhere holds no bin/nvcc"},
		"empty wheels":     {env: []string{"CUDA_ARCH=90", "CUDA_WHEELS=fakes"}, fails: "CUDA_WHEELS=fakes holds no nvidia/cu13/bin/nvcc; a virtual environment with nvidia-cuda-nvcc is wanted"},
		"other sources":    {env: []string{"CUDA_ARCH=90", "GGML_DIR=fakes"}, fails: "$DIR/fakes has no src/ggml-cuda/ggml-cuda.cu; GGML_DIR is to be ml/backend/ggml/ggml of github.com/ollama/ollama v0.24.0"},
		"no cmake":         {env: []string{"CUDA_ARCH=90", "CMAKE=nowhere"}, fails: "no cmake 3.24 or later: 'pip install cmake', 'apt-get install cmake', or set CMAKE"},
		"cmake stops":      {env: []string{"CUDA_ARCH=90", "FAIL=-S "}, fails: "cmake stopped: CMake Error: broken on purpose; all of it is in build/cuda/configure.log"},
		"the build stops":  {env: []string{"CUDA_ARCH=90", "FAIL=--build"}, fails: "the build stopped: CMake Error: broken on purpose; all of it is in build/cuda/build.log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := cuda(t)
			if tt.change != nil {
				tt.change(p)
			}
			code, out := p.run(append([]string{"GGML_DIR=ggml"}, tt.env...), "tools/cuda.sh")
			here := func(s string) string { return strings.ReplaceAll(s, "$DIR", p.dir) }
			if tt.fails != "" {
				if want := "cuda: " + here(tt.fails) + "\n"; code != 1 || !strings.HasSuffix(out, want) || strings.Count(out, "\n") > 3 {
					t.Errorf("got code %d and %q, want 1 and %q", code, out, want)
				}
				if _, err := os.Stat(filepath.Join(p.dir, "lib")); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("lib/ is there after a failure (%v)", err)
				}
				return
			}
			if code != 0 || p.read("lib/litgpt/libggml-cuda.so") != "library\n" {
				t.Fatalf("got code %d and %q, want the library", code, out)
			}
			calls := p.read("fakes/cmake.log")
			for _, want := range tt.calls {
				if !strings.Contains(calls, here(want)) {
					t.Errorf("cmake got\n%swant in it %q", calls, here(want))
				}
			}
		})
	}
}

// Another compiler gets a new build folder, the same one goes on in it.
func TestCUDABuildAgain(t *testing.T) {
	p := cuda(t)
	p.write("other/bin/nvcc", nvcc)
	env := []string{"GGML_DIR=ggml", "CUDA_ARCH=90"}
	build := func(env ...string) {
		t.Helper()
		if code, out := p.run(env, "tools/cuda.sh"); code != 0 {
			t.Fatalf("got code %d and %q", code, out)
		}
	}
	build(env...)
	p.write("build/cuda/object", "")
	build(env...)
	p.read("build/cuda/object")
	build(append(env, "NVCC=other/bin/nvcc")...)
	if _, err := os.Stat(filepath.Join(p.dir, "build/cuda/object")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the objects of another compiler are still there (%v)", err)
	}
}

func TestNoGPU(t *testing.T) {
	p := newPlace(t)
	p.write("fakes/nvidia-smi", "#!/bin/sh\necho 'no driver' >&2\nexit 9\n")
	if code, out := p.run([]string{"OUT=out"}, "tools/gpu.sh"); code != 2 {
		t.Fatalf("got code %d and %s, want 2", code, out)
	}
	report := p.read("out/gpu-report.md")
	for _, stage := range []string{"machine", "build", "ops", "fixtures", "resume", "lora8b", "pretrain", "decode", "vmm", "llama"} {
		if !strings.Contains(report, "| "+stage+" | no GPU | 0 |") {
			t.Errorf("got\n%s\nwant the verdict no GPU on %s", report, stage)
		}
	}
	if code, out := p.run(nil, "tools/gpu.sh", "machine", "bild"); code != 1 || !strings.HasPrefix(out, "gpu: no stage bild; the stages are machine build ") {
		t.Errorf("got code %d and %q, want 1 and the stages", code, out)
	}
}

// litgpt trains 20 steps whose losses are near to those on the CPU, up to $NEAR.
const litgpt = `#!/bin/sh
case "$*" in *"--device cuda"*) near=$NEAR;; *) near=0;; esac
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	echo "msg=train step=$i epoch=1 loss=2.5${near}1 lr=1e-05 norm=1 ms=10 tok/s=10$i eta=1s"
done
`

func TestGPUStages(t *testing.T) {
	bench := func(text string) func(p place) { return func(p place) { p.write("bench", "#!/bin/sh\n"+text) } }
	llama := func(more ...string) []string {
		return append([]string{"LLAMA_BENCH=./bench", "LLAMA_MODEL=x.gguf"}, more...)
	}
	for name, tt := range map[string]struct {
		env    []string
		change func(p place)
		stage  string
		code   int
		want   []string // in the report
	}{
		"pass":              {stage: "machine", want: []string{"1 GPU(s)", "| machine | pass |", "| GPU | Stand-in |", "## machine"}},
		"skipped":           {stage: "llama", want: []string{"| llama | skipped: LLAMA_BENCH names no llama-bench |"}},
		"figures":           {stage: "llama", env: llama(), change: bench(`echo "| x | pp512 | 9000 |"`), want: []string{"| llama | pass |", "| llama-bench |  x pp512 9000  |"}},
		"failed":            {stage: "llama", env: llama(), change: bench(`echo "no | memory"; exit 3`), code: 1, want: []string{"| llama | **FAILED**: no / memory |"}},
		"too long":          {stage: "llama", env: llama("GPU_SECONDS=2"), change: bench(`sleep 60`), code: 1, want: []string{"| llama | **FAILED**: not done after 2 s |"}},
		"no time":           {stage: "llama", env: llama("GPU_SECONDS=1"), change: bench(``), want: []string{"| llama | not run: no time left |"}},
		"same losses":       {stage: "cpu", env: []string{"NEAR=0"}, want: []string{"| cpu | pass |", "| 20 LoRA losses, GPU against CPU | worst relative difference 0 |"}},
		"other losses":      {stage: "cpu", env: []string{"NEAR=1"}, code: 1, want: []string{"| cpu | **FAILED**: worst relative difference 0.0039984"}},
		"no losses":         {stage: "cpu", change: func(p place) { p.write("bin/litgpt", "#!/bin/sh\n") }, code: 1, want: []string{"| cpu | **FAILED**"}},
		"the program stops": {stage: "cpu", change: func(p place) { p.write("bin/litgpt", "#!/bin/sh\necho 'litgpt: error: no' >&2\nexit 1\n") }, code: 1, want: []string{"| cpu | **FAILED**: litgpt: error: no |"}},
		"a test ran":        {stage: "fixtures", change: func(p place) { p.write("models/models.test", "#!/bin/sh\necho '--- PASS: TestFixturesCUDA/gpu'\n") }, want: []string{"| fixtures | pass |", "| models: tests passed, failed, skipped | 1, 0, 0 |"}},
		"no test ran":       {stage: "fixtures", change: func(p place) { p.write("models/models.test", "#!/bin/sh\necho '--- SKIP: TestFixtures'\n") }, code: 1, want: []string{"**FAILED**: no test of models ran on the GPU"}},
		"a test failed":     {stage: "fixtures", change: func(p place) { p.write("models/models.test", "#!/bin/sh\necho '--- FAIL: TestFixtures'; exit 1\n") }, code: 1, want: []string{"| fixtures | **FAILED**", "| models: tests passed, failed, skipped | 0, 1, 0 |"}},
		"not on the GPU": {stage: "ops", change: func(p place) {
			p.write("internal/tensor/tensor.test", "#!/bin/sh\necho '--- PASS: TestOpsCUDA/emulated'\n")
			p.write("internal/autograd/autograd.test", "#!/bin/sh\necho '--- PASS: TestRules'\n")
		}, code: 1, want: []string{"no test of internal/tensor ran on the GPU", "| internal/autograd: tests passed, failed, skipped | 0, 0, 0 |"}},
		"nothing to test by": {stage: "fixtures", env: []string{"GO=nowhere"}, code: 1, want: []string{"neither Go nor models/models.test is here"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.write("fakes/nvidia-smi", smi)
			p.write("bin/litgpt", litgpt)
			if tt.change != nil {
				tt.change(p)
			}
			code, out := p.run(tt.env, "tools/gpu.sh", tt.stage)
			if code != tt.code {
				t.Errorf("got code %d and %s, want %d", code, out, tt.code)
			}
			report := p.read("build/gpu-report.md")
			for _, want := range tt.want {
				if !strings.Contains(report, want) {
					t.Errorf("got\n%s\nwant in it %q", report, want)
				}
			}
		})
	}
}
