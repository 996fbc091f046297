// Package cudatest gives tests the CUDA library: the real one where there is a
// GPU, and everywhere the emulated one, the same kernels and the same interface
// compiled for the CPU, with GGML's CPU backend in the place of its CUDA backend.
package cudatest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Libraries gives the paths of the libraries to test: "emulated", compiled when
// the sources have changed since the last time, and "gpu" where there is one, by
// LITGPT_LIB or from `make cuda`. LITGPT_CUDA_TEST=gpu tests on a GPU only, and
// fails without one. A test that has none to run on is skipped.
func Libraries(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	path, why := real()
	only := os.Getenv("LITGPT_CUDA_TEST") == "gpu"
	switch {
	case why == nil:
		all["gpu"] = path
	case only:
		t.Fatal(why)
	default:
		t.Logf("on the emulator only: %v", why)
	}
	if !only {
		path, err := emulated()
		var missing *exec.Error
		switch {
		case err == nil:
			all["emulated"] = path
		case !errors.As(err, &missing):
			t.Fatal(err)
		case len(all) == 0:
			t.Skipf("no GPU, and the emulated CUDA library needs a C++ compiler: %v", err)
		}
	}
	return all
}

// Emulated gives the path of the emulated library; it skips the test where there is no C++ compiler.
func Emulated(t testing.TB) string {
	t.Helper()
	path, err := emulated()
	var missing *exec.Error
	if errors.As(err, &missing) {
		t.Skipf("the emulated CUDA library needs a C++ compiler: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// real finds a library that has a GPU to work on.
func real() (string, error) {
	path := os.Getenv("LITGPT_LIB")
	if path == "" {
		_, self, _, _ := runtime.Caller(0)
		path = filepath.Join(filepath.Dir(self), "../../lib/litgpt/libggml-cuda.so")
	}
	if !exists(path) {
		return "", fmt.Errorf("no %s; `make cuda` builds it", path)
	}
	lib, err := ggml.LoadLibrary(path)
	if err != nil {
		return "", err
	}
	if n, err := lib.Devices(); err != nil || n == 0 {
		return "", fmt.Errorf("%s finds no GPU: %v", path, err)
	}
	return path, nil
}

var emulated = sync.OnceValues(build)

func build() (string, error) {
	_, self, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(self), "../ggml")
	sources, headers, err := files(root)
	if err != nil {
		return "", err
	}
	compiler, err := exec.LookPath("g++")
	if err != nil {
		return "", err
	}
	flags := []string{"-std=c++17", "-O1", "-g0", "-fPIC", "-fno-strict-aliasing", "-DNDEBUG", "-DLITGPT_EMULATE", fmt.Sprintf("-DLITGPT_GGML=%q", ggml.Source)}
	sum := sha256.New()
	fmt.Fprintln(sum, compiler, flags)
	for _, name := range append(slices.Clone(sources), headers...) {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, name, len(data))
		sum.Write(data)
	}
	dir := filepath.Join(os.TempDir(), "litgpt-emulated-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	lib := filepath.Join(dir, "libggml-cuda.so")
	if exists(lib) {
		return lib, nil
	}
	// Packages are tested side by side: one compiles, the others wait for it.
	if err := os.Mkdir(dir, 0o755); errors.Is(err, fs.ErrExist) {
		for range 1200 {
			if exists(lib) {
				return lib, nil
			}
			time.Sleep(100 * time.Millisecond)
		}
	} else if err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	include, err := ggmlHeaders()
	if err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	flags = append(flags, "-I", include)
	objects := make([]string, len(sources))
	failures := make([]error, len(sources))
	var group sync.WaitGroup
	for i, src := range sources {
		objects[i] = filepath.Join(work, fmt.Sprintf("%d.o", i))
		group.Go(func() {
			args := append(slices.Clone(flags), "-c", "-x", "c++", src, "-o", objects[i])
			if filepath.Base(src) == "cublas.cpp" { // half of the time, and a moment to compile
				args = append(args, "-O3", "-march=native")
			}
			failures[i] = compile(compiler, args)
		})
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	made := filepath.Join(work, "lib.so")
	if err := compile(compiler, append([]string{"-shared", "-o", made}, objects...)); err != nil {
		os.RemoveAll(dir)
		return "", err
	}
	return lib, os.Rename(made, lib)
}

// ggmlHeaders is where the pinned module keeps ggml-common.h: the blocks and tables of the quantized types.
func ggmlHeaders() (string, error) {
	module, _, _ := strings.Cut(ggml.Source, " ")
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", module, err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "ml/backend/ggml/ggml/src"), nil
}

func compile(compiler string, args []string) error {
	if out, err := exec.Command(compiler, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("g++ %v: %w\n%.4000s", args, err, out)
	}
	return nil
}

func files(root string) (sources, headers []string, err error) {
	for _, pattern := range []string{"cuda/*.cu", "cuda/emulate/*.cpp"} {
		m, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(m) == 0 {
			return nil, nil, fmt.Errorf("%s: no sources (%v)", filepath.Join(root, pattern), err)
		}
		sources = append(sources, m...)
	}
	for _, pattern := range []string{"*.h", "cuda/*.h", "cuda/*.cuh", "cuda/emulate/*.h"} {
		m, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, nil, err
		}
		headers = append(headers, m...)
	}
	return sources, headers, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
