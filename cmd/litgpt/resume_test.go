package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What --resume does with runs that are not as they were left.
func TestResume(t *testing.T) {
	args := finetuneArgs(t, "finetune_lora", 6, 2)
	whole := t.TempDir()
	ok(t, litgpt(t, whole, args...))
	final := func(dir string) string { return filepath.Join(dir, "out", "final") }

	// begun is a copy of the run as it was after step 4.
	begun := func(t *testing.T) string {
		t.Helper()
		dir := t.TempDir()
		for _, step := range []string{"step-000002", "step-000004"} {
			copyDir(t, filepath.Join(whole, "out", step), filepath.Join(dir, "out", step))
		}
		return dir
	}
	resume := func(t *testing.T, dir string, more ...string) result {
		t.Helper()
		return litgpt(t, dir, append(append(args[:len(args):len(args)], "--resume", "auto"), more...)...)
	}

	t.Run("nothing there", func(t *testing.T) {
		dir := t.TempDir()
		ok(t, resume(t, dir))
		same(t, final(dir), final(whole))
	})
	t.Run("done already", func(t *testing.T) {
		dir := copyDir(t, whole, t.TempDir())
		if r := ok(t, resume(t, dir)); strings.Contains(r.stderr, "msg=train") {
			t.Errorf("got stderr\n%s\nwant no step", r.stderr)
		}
		same(t, final(dir), final(whole))
	})
	t.Run("a step by name", func(t *testing.T) {
		dir := begun(t)
		r := ok(t, resume(t, dir, "--resume", "out/step-000002"))
		if !strings.Contains(r.stderr, "msg=resuming from=out/step-000002 step=2 of=6\n") {
			t.Errorf("got stderr\n%s\nwant it to resume from step 2", r.stderr)
		}
		same(t, final(dir), final(whole))
	})
	t.Run("no such step", func(t *testing.T) {
		fails(t, resume(t, begun(t), "--resume", "out/step-000003"), 1, "litgpt: error: --resume: out/step-000003: no such file or directory\n")
	})
	t.Run("without --resume", func(t *testing.T) {
		dir := begun(t)
		before := files(t, dir)
		fails(t, litgpt(t, dir, args...), 1, "litgpt: error: out holds the checkpoints of an earlier run (up to step-000004); go on with --resume auto, ")
		if after := files(t, dir); len(after) != len(before) {
			t.Errorf("got files %q, want %q", after, before)
		}
	})

	t.Run("other settings", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "other.json")
		write(t, other, read(t, path("testdata/dialogue.json")))
		edit(t, other, "\n]\n", `,{"instruction":"More?","output":"More."}]`)
		dir := begun(t)
		for name, tt := range map[string]struct{ more, want []string }{
			"seed": {[]string{"--seed", "7"}, []string{`seed was "1337" in the run that stopped and is "7" now`}},
			"data": {[]string{"--data.json_path", other}, []string{"data was ", "other.json", `samples was "27 of`, `is "28 of`}},
			"rank": {[]string{"--lora_r", "4", "--train.micro_batch_size", "1"}, []string{"lora was ", "Rank:8", "Rank:4", `micro_batch_size was "2"`}},
		} {
			r := resume(t, dir, tt.more...)
			fails(t, r, 1, append(tt.want, "litgpt: error: cannot resume from out/step-000004:\n")...)
			if n := strings.Count(r.stderr, " in the run that stopped "); n != len(tt.want)/2+len(tt.want)%2 && name != "rank" {
				t.Errorf("%s: got %d differences:\n%s", name, n, r.stderr)
			}
		}
		if left := files(t, filepath.Join(dir, "out", "logs")); len(left) > 0 {
			t.Errorf("got %q, want nothing written", left)
		}
	})

	// A damaged checkpoint costs the steps since the one before, and nothing else.
	for name, damage := range map[string]func(t *testing.T, step string) (file string){
		"state flipped": func(t *testing.T, step string) string {
			flip(t, step+"/training_state.safetensors")
			return "training_state.safetensors"
		},
		"weights flipped": func(t *testing.T, step string) string {
			flip(t, step+"/adapter_model.safetensors")
			return "adapter_model.safetensors"
		},
		"manifest flipped": func(t *testing.T, step string) string { flip(t, step+"/manifest.json"); return "manifest.json" },
		"manifest gone": func(t *testing.T, step string) string {
			check(t, os.Remove(step+"/manifest.json"))
			return "manifest.json"
		},
		"state cut": func(t *testing.T, step string) string {
			check(t, os.Truncate(step+"/training_state.safetensors", 1000))
			return "training_state.safetensors"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := begun(t)
			file := damage(t, filepath.Join(dir, "out", "step-000004"))

			// Named, it is an error.
			fails(t, resume(t, dir, "--resume", "out/step-000004"), 1, "litgpt: error: --resume: out/step-000004: ", file)

			r := ok(t, resume(t, dir))
			for _, want := range []string{`level=WARN msg="a damaged checkpoint is passed over"`, "out/step-000004", file, "msg=resuming from=out/step-000002 "} {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("got stderr\n%s\nwant in it %q", r.stderr, want)
				}
			}
			same(t, final(dir), final(whole))
			same(t, filepath.Join(dir, "out", "step-000004"), filepath.Join(whole, "out", "step-000004"))

			// With none left the run does not begin anew by itself.
			dir = begun(t)
			damage(t, filepath.Join(dir, "out", "step-000002"))
			damage(t, filepath.Join(dir, "out", "step-000004"))
			fails(t, resume(t, dir), 1, "no checkpoint in out can be resumed; remove them to begin anew:\n", "out/step-000002", "out/step-000004", file)
			fails(t, litgpt(t, dir, args...), 1, "out holds the checkpoints of an earlier run")
		})
	}
}
