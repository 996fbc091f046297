package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// What the tests that run the program share: a model that is trained in a
// moment, and a way to run commands.

const tokenizerDir = "../../demo/tokenizer"

// tests gives all tests a directory for the tiny model and the cache of tokens.
type tests struct{ m *testing.M }

var scratch, source string // directories: scratch, and this package; set before the tests run

func (t tests) Run() int {
	dir, err := os.MkdirTemp("", "litgpt-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	if source, err = os.Getwd(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	return t.m.Run()
}

// pretrainArgs train a Llama of 2 layers, 64 wide, on 8 kB of text.
func pretrainArgs(t testing.TB, steps, every int, more ...string) []string {
	t.Helper()
	return append([]string{"pretrain", "--model_config.block_size", "128", "--model_config.vocab_size", "512", "--model_config.n_layer", "2",
		"--model_config.n_head", "4", "--model_config.n_query_groups", "2", "--model_config.n_embd", "64", "--model_config.intermediate_size", "96",
		"--tokenizer_dir", path(tokenizerDir), "--data.train_data_path", path("testdata/text.txt"), "--precision", "32-true",
		"--train.max_seq_length", "32", "--train.global_batch_size", "8", "--train.micro_batch_size", "4", "--train.lr_warmup_steps", "5",
		"--optimizer.lr", "0.01", "--eval.interval", "0", "--threads", "1", "--out_dir", "out",
		"--train.max_steps", strconv.Itoa(steps), "--train.save_interval", strconv.Itoa(every)}, more...)
}

// finetuneArgs train an adapter, or all weights, of the tiny model, with dropout on.
func finetuneArgs(t testing.TB, command string, steps, every int, more ...string) []string {
	t.Helper()
	return append([]string{command, tiny(t), "--data", "JSON", "--data.json_path", path("testdata/dialogue.json"), "--data.mask_prompt",
		"--data.prompt_style", "chat_template", "--train.global_batch_size", "4", "--train.micro_batch_size", "2", "--train.lr_warmup_steps", "2",
		"--optimizer.lr", "0.01", "--eval.interval", "0", "--threads", "1", "--out_dir", "out", "--train.epochs", "0",
		"--train.max_steps", strconv.Itoa(steps), "--train.save_interval", strconv.Itoa(every)}, more...)
}

var tinyOnce sync.Once

// tiny is the directory of the tiny model: a complete float32 checkpoint.
func tiny(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(scratch, "tiny", "out", "final")
	tinyOnce.Do(func() {
		mkdir(t, filepath.Join(scratch, "tiny"))
		ok(t, litgpt(t, filepath.Join(scratch, "tiny"), pretrainArgs(t, 150, 0)...))
	})
	return dir
}

// result is what a command left behind.
type result struct {
	args           []string
	code           int // -1 for one that a signal killed
	stdout, stderr string
}

// litgpt runs the program in dir.
func litgpt(t testing.TB, dir string, args ...string) result {
	t.Helper()
	return with(t, dir, "", args...)
}

// with is litgpt with an input.
func with(t testing.TB, dir, stdin string, args ...string) result {
	t.Helper()
	c := exec.Command("litgpt", args...)
	var stdout, stderr bytes.Buffer
	c.Dir, c.Stdin, c.Stdout, c.Stderr = dir, strings.NewReader(stdin), &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{args, c.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ok fails the test unless the command succeeded.
func ok(t testing.TB, r result) result {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("%.60q: got exit code %d, stderr:\n%s", r.args, r.code, r.stderr)
	}
	return r
}

// fails fails the test unless the command ended with code and all of want in stderr, in a way meant for people.
func fails(t testing.TB, r result, code int, want ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("%.60q: got exit code %d, want %d", r.args, r.code, code)
	}
	for _, w := range want {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("%.60q: got stderr\n%s\nwant in it %q", r.args, r.stderr, w)
		}
	}
	for _, bad := range []string{"panic", "goroutine ", "GGML_ASSERT", "runtime error", "SIG"} {
		if strings.Contains(r.stderr, bad) {
			t.Errorf("%.60q: got stderr\n%s\nwith %q in it", r.args, r.stderr, bad)
		}
	}
	if code != exitInterrupted && strings.Count(r.stderr, "litgpt: error: ") != 1 {
		t.Errorf("%.60q: got stderr\n%s\nwant one error", r.args, r.stderr)
	}
	if r.stdout != "" {
		t.Errorf("%.60q: got stdout %q, want none", r.args, r.stdout)
	}
}

// path is the absolute path of a file of this package.
func path(name string) string { return filepath.Join(source, name) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, dir string) string {
	t.Helper()
	check(t, os.MkdirAll(dir, 0o777))
	return dir
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	check(t, err)
	return data
}

func write(t testing.TB, name string, data []byte) {
	t.Helper()
	mkdir(t, filepath.Dir(name))
	check(t, os.WriteFile(name, data, 0o666))
}

// edit replaces the one old in a file by new, which is how tests damage things.
func edit(t testing.TB, name, old, new string) {
	t.Helper()
	data := read(t, name)
	if n := bytes.Count(data, []byte(old)); n != 1 {
		t.Fatalf("%s: got %d times %q, want once", name, n, old)
	}
	write(t, name, bytes.Replace(data, []byte(old), []byte(new), 1))
}

// flip changes one bit in the middle of a file.
func flip(t testing.TB, name string) {
	t.Helper()
	data := read(t, name)
	data[len(data)/2] ^= 1
	write(t, name, data)
}

// copyDir copies the files of a directory.
func copyDir(t testing.TB, from, to string) string {
	t.Helper()
	for _, name := range files(t, from) {
		write(t, filepath.Join(to, name), read(t, filepath.Join(from, name)))
	}
	return to
}

// files lists the files below dir with their paths in it; none for one that is not there.
func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, err := filepath.Rel(dir, name)
			check(t, err)
			names = append(names, rel)
		}
		return nil
	})
	return names
}

// same fails the test unless two directories hold the same files, byte for byte.
func same(t testing.TB, got, want string) {
	t.Helper()
	a, b := files(t, got), files(t, want)
	if !slices.Equal(a, b) || len(a) == 0 {
		t.Fatalf("%s holds %q, %s %q", got, a, want, b)
	}
	for _, name := range a {
		if x, y := read(t, filepath.Join(got, name)), read(t, filepath.Join(want, name)); !bytes.Equal(x, y) {
			t.Errorf("%s of %s and %s differ (%d and %d bytes)", name, got, want, len(x), len(y))
		}
	}
}
