package cuda_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestAttention runs testdata/attention_check.cpp: heads, sizes, lengths, windows, types of keys and values and of products.
func TestAttention(t *testing.T) {
	// -O1 compiles much faster than -O2 and runs as fast. The CPU kernels pass vectors wider than plain x86-64's, of which -Wpsabi warns.
	program := build(t, []string{"-O1", "-Wno-psabi"}, append(emulator, "testdata/attention_check.cpp", "attention.cu", "attention_few.cu", "attention_paged.cu", "attention_back.cu", "../attention.cpp", "../attention_paged.cpp", "../gemm.cpp", "../blocks.cpp")...)
	cmd := exec.Command(program)
	cmd.Env = order(false)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ok\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("\n%s", out)
}
