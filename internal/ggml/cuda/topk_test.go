package cuda_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The k largest, as the kernels in topk.cu find them, are those of a stable sort, in both orders of threads.
func TestTopK(t *testing.T) {
	sources := append([]string{"topk.cu", "testdata/topktest.cu"}, emulator...)
	for _, name := range sources { // opened here too: go test's cache of results knows of no other process's files
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	program := build(t, []string{"-O1", "-w"}, sources...)
	for _, reverse := range []bool{false, true} {
		cmd := exec.Command(program)
		cmd.Env = order(reverse)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "ok: ") {
			t.Errorf("reverse %v: %v\n%.2000s", reverse, err, out)
		}
	}
}
