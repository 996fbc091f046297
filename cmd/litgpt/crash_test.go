//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litgpt-go/litgpt/internal/durable"
)

// runs are the trainings that are killed, interrupted and resumed.
func runs(t *testing.T, steps, every int) map[string][]string {
	return map[string][]string{
		"finetune_lora":           finetuneArgs(t, "finetune_lora", steps, every, "--lora_dropout", "0.1", "--resume", "auto"),
		"finetune_full recompute": finetuneArgs(t, "finetune_full", steps, every, "--recompute", "--resume", "auto"),
		"pretrain":                pretrainArgs(t, steps, every, "--resume", "auto"),
		"pretrain bf16 recompute": pretrainArgs(t, steps, every, "--recompute", "--precision", "bf16-mixed", "--resume", "auto"),
	}
}

// A run that is killed at any moment, again and again, ends in the bytes of one that was not.
func TestKill(t *testing.T) {
	kills := 3
	if os.Getenv("LITGPT_SLOW") == "1" {
		kills = 20
	}
	seed := uint64(1)
	for name, args := range runs(t, 12, 1) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole, dir := t.TempDir(), t.TempDir()
			start := time.Now()
			ok(t, litgpt(t, whole, args...))
			took := time.Since(start)
			rng := rand.New(rand.NewPCG(seed, uint64(len(name))))
			done, resumed := 0, 0
			for killed := 0; killed < kills; {
				c := exec.Command("litgpt", args...)
				var stderr bytes.Buffer
				c.Dir, c.Stderr = dir, &stderr
				check(t, c.Start())
				time.Sleep(time.Duration(rng.Float64() * float64(took)))
				c.Process.Kill()
				err := c.Wait()
				if strings.Contains(stderr.String(), "msg=resuming") {
					resumed++
				}
				switch {
				case c.ProcessState.Sys().(syscall.WaitStatus).Signaled():
					killed++
					verify(t, dir)
				case err != nil:
					t.Fatalf("got %v, stderr:\n%s", err, &stderr)
				default: // it was done before: another one
					done++
					same(t, filepath.Join(dir, "out", "final"), filepath.Join(whole, "out", "final"))
					check(t, os.RemoveAll(filepath.Join(dir, "out")))
				}
			}
			t.Logf("seed %d: %d kills in %v each at most, %d of the starts resumed, %d times done before", seed, kills, took, resumed, done)
			ok(t, litgpt(t, dir, args...))
			for _, last := range []string{"final", filepath.Base(steps(t, dir)[len(steps(t, dir))-1])} {
				same(t, filepath.Join(dir, "out", last), filepath.Join(whole, "out", last))
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "out", ".*")); len(left) > 0 {
				t.Errorf("got %q, want no leftovers of killed writers", left)
			}
		})
	}
}

// steps are the step directories of a run, in order.
func steps(t testing.TB, dir string) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(dir, "out", "step-*"))
	check(t, err)
	return dirs
}

// verify compares all checkpoints of a run with their manifests.
func verify(t testing.TB, dir string) {
	t.Helper()
	for _, step := range steps(t, dir) {
		if err := durable.Verify(step); err != nil {
			t.Error(err)
		}
	}
}

// start runs a command and returns once a line of its stderr contains until;
// stop it with signals and wait.
func start(t *testing.T, dir, until string, args []string) *running {
	t.Helper()
	c := exec.Command("litgpt", args...)
	c.Dir = dir
	pipe, err := c.StderrPipe()
	check(t, err)
	check(t, c.Start())
	t.Cleanup(func() { c.Process.Kill() })
	r := &running{c: c, lines: bufio.NewReader(pipe)}
	r.await(t, until)
	return r
}

type running struct {
	c      *exec.Cmd
	lines  *bufio.Reader
	stderr strings.Builder
}

// await reads stderr up to a line with the text.
func (r *running) await(t *testing.T, text string) {
	t.Helper()
	for {
		line, err := r.lines.ReadString('\n')
		r.stderr.WriteString(line)
		if err != nil {
			t.Fatalf("got stderr\n%s\nwant in it %q", &r.stderr, text)
		}
		if strings.Contains(line, text) {
			return
		}
	}
}

func (r *running) signal(t *testing.T, s os.Signal) {
	t.Helper()
	check(t, r.c.Process.Signal(s))
}

func (r *running) wait(t *testing.T) (result, syscall.WaitStatus) {
	t.Helper()
	_, err := io.Copy(&r.stderr, r.lines)
	check(t, err)
	r.c.Wait()
	return result{args: r.c.Args, code: r.c.ProcessState.ExitCode(), stderr: r.stderr.String()}, r.c.ProcessState.Sys().(syscall.WaitStatus)
}

// Ctrl-C and SIGTERM finish the step, save it and say how to go on.
func TestInterrupt(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		last := 150
		if s == syscall.SIGTERM {
			last = 100000 // it is not run to its end, being the same
		}
		for name, args := range runs(t, last, 0) {
			t.Run(name+" "+s.String(), func(t *testing.T) {
				t.Parallel()
				whole, dir := t.TempDir(), t.TempDir()
				r := start(t, dir, "msg=train step=3 ", args)
				r.signal(t, s)
				got, _ := r.wait(t)
				fails(t, got, exitInterrupted, "finishing what is begun", "litgpt: interrupted: step ", fmt.Sprintf(" of %d is saved, --resume auto goes on from there\n", last))
				if saved := steps(t, dir); len(saved) != 1 {
					t.Fatalf("got checkpoints %q, want one", saved)
				}
				verify(t, dir)
				if s == syscall.SIGTERM {
					return
				}
				ok(t, litgpt(t, whole, args...))
				got = ok(t, litgpt(t, dir, args...))
				if !strings.Contains(got.stderr, "msg=resuming from=out/step-") {
					t.Errorf("got stderr\n%s\nwant a line that it resumes", got.stderr)
				}
				same(t, filepath.Join(dir, "out", "final"), filepath.Join(whole, "out", "final"))
			})
		}
	}
}

// The validation at the end can be interrupted too: the steps are safe.
func TestInterruptLate(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "val.txt"), bytes.Repeat(read(t, path("testdata/text.txt")), 60))
	r := start(t, dir, "msg=train step=1 ", pretrainArgs(t, 1, 0, "--data.val_data_path", "val.txt"))
	for len(steps(t, dir)) == 0 {
		time.Sleep(time.Millisecond)
	}
	r.signal(t, syscall.SIGINT)
	got, _ := r.wait(t)
	fails(t, got, exitInterrupted, "litgpt: interrupted: step 1 ", "is saved, --resume auto goes on from there\n")
	if left := files(t, filepath.Join(dir, "out", "final")); len(left) > 0 {
		t.Errorf("got %q in final", left)
	}
}

// Generating stops between two tokens.
func TestInterruptGenerate(t *testing.T) {
	r := start(t, t.TempDir(), "msg=generated sample=2 ", []string{"generate", tiny(t), "--num_samples", "1000000", "--threads", "1"})
	r.signal(t, syscall.SIGINT)
	got, _ := r.wait(t)
	fails(t, got, exitInterrupted, "litgpt: interrupted\n")
}

// The second signal does not wait for the step.
func TestInterruptTwice(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "msg=data", pretrainArgs(t, 10, 0, "--train.global_batch_size", "400000")) // minutes for a step
	r.signal(t, syscall.SIGINT)
	r.await(t, "press Ctrl-C again")
	r.signal(t, syscall.SIGINT)
	if _, status := r.wait(t); !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("got status %v, want killed by SIGINT", status)
	}
	if left := steps(t, dir); len(left) > 0 {
		t.Errorf("got %q, want no checkpoint", left)
	}
}
