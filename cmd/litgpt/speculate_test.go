package main

import (
	"strings"
	"testing"
)

// TestSpeculation generates with guesses, by look-up and by a draft model, what is generated without, and says how many were right.
func TestSpeculation(t *testing.T) {
	model := path("../../demo/model")
	settings := []string{"--prompt", "To be, or not to be", "--temperature", "0.7", "--top_k", "20", "--seed", "7", "--num_samples", "2",
		"--max_new_tokens", "40", "--threads", "1", "--json"}
	run := func(args ...string) result {
		t.Helper()
		return ok(t, litgpt(t, t.TempDir(), append(args, settings...)...))
	}
	want := run("generate", model)
	if strings.Contains(want.stderr, "acceptance") {
		t.Errorf("without guesses the log says %s", want.stderr)
	}
	for _, args := range [][]string{
		{"generate", model, "--lookup", "4"},
		{"generate_speculatively", model, model},
		{"generate_speculatively", model, model, "--speculative_k", "5"},
	} {
		got := run(args...)
		if got.stdout != want.stdout {
			t.Errorf("%v: got\n%swant\n%s", args, got.stdout, want.stdout)
		}
		contains(t, strings.Join(args, " "), got.stderr, "guessed=", "acceptance=")
	}
	for want, args := range map[string][]string{
		"--speculative_k is 0; 1 to 16 tokens wanted": {"generate_speculatively", model, model, "--speculative_k", "0"},
		"--lookup is 17; 0 to 16 tokens wanted":       {"generate", model, "--lookup", "17"},
		"--lookup guesses without a model":            {"generate_speculatively", model, model, "--lookup", "2"},
		"checkpoints/none":                            {"generate_speculatively", "checkpoints/none", model},
	} {
		if r := litgpt(t, t.TempDir(), args...); r.code == 0 || !strings.Contains(r.stderr, want) {
			t.Errorf("%v: exit code %d, stderr %s", args, r.code, r.stderr)
		}
	}
}
