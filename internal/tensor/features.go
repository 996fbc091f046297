package tensor

import (
	"slices"

	"golang.org/x/sys/cpu"

	"github.com/litgpt-go/litgpt/internal/ggml"
)

// Features names the vector instructions this program was compiled with.
func Features() []string { return ggml.Features() }

// SlowBuild says, when this program was compiled without vector instructions that
// its processor has, what to do about it; otherwise "".
func SlowBuild() string {
	f := Features()
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && !slices.Contains(f, "avx512"),
		cpu.X86.HasAVX2 && !slices.Contains(f, "avx2"):
		return "this program was built without the vector instructions of this processor and will be several times slower; build it with `make`"
	}
	return ""
}
