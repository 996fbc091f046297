package main

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that is full when a checkpoint is saved: the one before stands, and
// with more space the run goes on.
func TestFullDisk(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		size string // of the disk: a few checkpoints
	}{
		"finetune_lora": {finetuneArgs(t, "finetune_lora", 8, 1, "--resume", "auto"), "size=400k"},
		"pretrain":      {pretrainArgs(t, 6, 1, "--resume", "auto"), "size=5000k"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, whole := t.TempDir(), t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, tt.size); err != nil {
				t.Skipf("cannot mount a small file system, which needs root: %v", err)
			}
			t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
			r := litgpt(t, dir, tt.args...)
			if strings.Count(r.stderr, "litgpt: error: ") == 2 { // the log of metrics is on the same disk
				i := strings.LastIndex(r.stderr, "litgpt: error: ")
				if !strings.Contains(r.stderr[i:], "metrics.csv") {
					t.Errorf("got stderr\n%s", r.stderr)
				}
				r.stderr = r.stderr[:i]
			}
			fails(t, r, exitFailed, "/out/step-", ": no space left on device; free some space")
			saved := steps(t, dir)
			if len(saved) == 0 {
				t.Fatalf("got no checkpoint, stderr:\n%s", r.stderr)
			}
			verify(t, dir)
			for _, step := range saved {
				if strings.Contains(r.stderr, step+"/") {
					t.Errorf("%s is there although it could not be written:\n%s", step, r.stderr)
				}
			}

			check(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=64m"))
			again := ok(t, litgpt(t, dir, tt.args...))
			if want := "msg=resuming from=out/" + filepath.Base(saved[len(saved)-1]); !strings.Contains(again.stderr, want) {
				t.Errorf("got stderr\n%s\nwant in it %q", again.stderr, want)
			}
			ok(t, litgpt(t, whole, tt.args...))
			same(t, filepath.Join(dir, "out", "final"), filepath.Join(whole, "out", "final"))
		})
	}
}
