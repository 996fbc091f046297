package durable

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the writer that TestKill kills: it replaces the
// directory in DURABLE_TEST_WRITER until then.
func TestMain(m *testing.M) {
	path := os.Getenv("DURABLE_TEST_WRITER")
	if path == "" {
		os.Exit(m.Run())
	}
	for {
		d, err := NewDir(path)
		if err == nil {
			err = d.WriteFile("a.txt", []byte("a"))
		}
		if err == nil {
			err = d.WriteFile("b.txt", make([]byte, 100<<10))
		}
		if err == nil {
			err = d.Commit()
		}
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString("committed\n")
	}
}

// A writer killed at any moment leaves a complete version, and Recover leaves nothing
// else.
func TestKill(t *testing.T) {
	self, err := os.Executable()
	check0(t, err)
	path := filepath.Join(t.TempDir(), "final")
	for n := range 6 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "DURABLE_TEST_WRITER="+path)
		out, err := cmd.StdoutPipe()
		check0(t, err)
		check0(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		time.Sleep(time.Duration(n) * 1700 * time.Microsecond) // somewhere in a later version
		check0(t, cmd.Process.Kill())
		cmd.Wait() // "signal: killed"
		if err != nil || strings.TrimSpace(line) != "committed" {
			t.Fatalf("writer: got %q, %v", line, err)
		}
		check0(t, Recover(path))
		check0(t, Verify(path))
		if got := names(t, filepath.Dir(path)); len(got) != 1 {
			t.Fatalf("left are %q, want final alone", got)
		}
	}
}
