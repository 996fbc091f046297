package cuda_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// emulator is the emulator's sources, linked with whatever runs on it.
var emulator = []string{"emulate/emulate.cpp", "emulate/runtime.cpp", "emulate/cublas.cpp"}

// build compiles sources, .cu files among them, into a program that runs on the emulator, and returns its path.
func build(t *testing.T, flags []string, sources ...string) string {
	t.Helper()
	cxx := cmp.Or(os.Getenv("CXX"), "g++")
	if _, err := exec.LookPath(strings.Fields(cxx)[0]); err != nil {
		t.Skipf("no C++ compiler: %v", err)
	}
	program := filepath.Join(t.TempDir(), "program")
	args := append(strings.Fields(cxx)[1:], "-x", "c++", "-std=c++17", "-fno-strict-aliasing", "-DLITGPT_EMULATE", "-I..", "-o", program)
	args = append(append(args, flags...), sources...)
	if out, err := exec.Command(strings.Fields(cxx)[0], args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", cxx, strings.Join(args, " "), err, out)
	}
	return program
}

// order is the environment for the emulator's fibers in their order or the opposite one.
func order(reverse bool) []string {
	if reverse {
		return append(os.Environ(), "LITGPT_EMULATE_REVERSE=1")
	}
	return append(os.Environ(), "LITGPT_EMULATE_REVERSE=0")
}

func TestEmulator(t *testing.T) {
	t.Run("native", func(t *testing.T) { testEmulator(t) })
	t.Run("portable", func(t *testing.T) { testEmulator(t, "-DLITGPT_EMULATE_PORTABLE") })
}

func testEmulator(t *testing.T, flags ...string) {
	program := build(t, append(flags, "-O1"), append(emulator, "testdata/selftest.cu")...)
	tests := []struct {
		name string
		want string // of the output; "ok" when all is well
	}{
		{"elementwise", "ok"},
		{"barriers", "ok"},
		{"collectives", "ok"},
		{"matrices", "ok"},
		{"types", "ok"},
		{"cublas", "ok"},
		{"graphs", "ok"},
		{"limits", "ok"},
		{"missing barrier", "want"},
		{"returns early", "a thread has returned while others of its block wait"},
		{"two barriers", "threads of one block wait at different __syncthreads()"},
		{"lane returned", "a lane named in the mask of a warp collective has returned"},
		{"lane at barrier", "a lane waits in a warp collective for lanes that wait elsewhere"},
		{"unlike collectives", "lanes of one mask wait in different warp collectives"},
		{"not in mask", "the mask of a warp collective does not name its caller"},
	}
	for _, test := range tests {
		for _, reverse := range []bool{false, true} {
			cmd := exec.Command(program, test.name)
			cmd.Env = order(reverse)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (test.want == "ok") || !strings.Contains(string(out), test.want) {
				t.Errorf("%s, reverse %v: got %v and %q, want %q", test.name, reverse, err, out, test.want)
			}
		}
	}
}
