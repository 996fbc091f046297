package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A conversation that is saved goes on in another process as if it had not ended; a context that is full is said, and room can
// be made.
func TestChatSavedAndFull(t *testing.T) {
	dir := t.TempDir()
	args := []string{"chat", tiny(t), "--max_new_tokens", "8", "--threads", "1"}
	whole := ok(t, with(t, dir, "Who is there?\n/set seed 7\nAnd now?\n/set seed 7\nFarewell.\n", args...))
	ok(t, with(t, dir, "Who is there?\n/set seed 7\nAnd now?\n/save a chat.json\n", args...))
	rest := ok(t, with(t, dir, "/load a chat.json\nFarewell.\n", args...))
	if rest.stdout == "" || !strings.HasSuffix(whole.stdout, "\n"+rest.stdout) {
		t.Errorf("the saved conversation goes on with %q, want the end of %q", rest.stdout, whole.stdout)
	}
	info, err := os.Stat(filepath.Join(dir, "a chat.json"))
	check(t, err)
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can read the conversation: %v", info.Mode())
	}

	r := with(t, dir, "Who is there?\nWho?\n/forget 1\n/retry\n/stats\n", "chat", tiny(t), "--max_new_tokens", "500", "--temperature", "0", "--threads", "1")
	for _, want := range []string{
		"cut off: the context is full; /forget N drops the oldest prompts, /reset all",
		"litgpt: error: the context is full: the conversation has", "hint: /forget 1 drops the oldest prompt and its answer, /reset all of them; then /retry asks again",
		"The conversation is forgotten.", " of 128 (",
	} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in\n%s", want, r.stderr)
		}
	}
	if strings.Count(r.stdout, "\n") < 2 || r.code != 1 { // a prompt had no answer at first
		t.Errorf("got exit %d and %q", r.code, r.stdout)
	}
	r = with(t, dir, "/set temperature -1\n/set max_new_tokens 0\n/set top_k x\n/set min_p 0.1\n/set\n", args...)
	for _, want := range []string{"temperature must be", "max_new_tokens is 0; a positive number wanted", `top_k is a whole number, got "x"`, "min_p is 0.1, from the next answer on.", "repetition_penalty   1 "} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("no %q in\n%s", want, r.stderr)
		}
	}
}
