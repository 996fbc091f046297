package tokenizer

import (
	"runtime"
	"testing"
	"time"
	"unicode/utf8"
)

// checkHostile runs load, which gives nil for an error, on a file b from a stranger:
// no more memory than ten times the file and a constant, no hang, ids of the
// vocabulary, offsets within the text, streams that agree with Decode.
func checkHostile(t *testing.T, b []byte, load func() *Tokenizer) {
	t.Helper()
	start := time.Now()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tk := load()
	runtime.ReadMemStats(&after)
	if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(10*len(b)+hostileMemory); used > limit {
		t.Errorf("allocated %d bytes for a file of %d", used, len(b))
	}
	if tk == nil {
		return
	}
	const text = "a ▁b 12 aaaaaaaaaaaa!<s> é\xe2\n  ﬁ <unk>▁▁ x"
	ids := tk.Encode(text, true)
	for _, id := range ids {
		if id < 0 || int(id) >= tk.VocabSize() {
			t.Errorf("id %d outside the vocabulary of %d", id, tk.VocabSize())
		}
	}
	for _, x := range tk.EncodeTokens(text, true) {
		if x.Start < 0 || x.End < x.Start || x.End > len(text) {
			t.Errorf("token %+v of a text of %d bytes", x, len(text))
		}
	}
	all := append(ids, 0, 1, 2, 3, 4, 5, -1, int32(tk.VocabSize()), 1<<31-1)
	want := tk.Decode(all, false)
	if got := streamed(t, tk.Stream(false), all); got != want || !utf8.ValidString(want) {
		t.Errorf("streamed %q, decoded %q", got, want)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

// hostileMemory is what the smallest file may take: tables of fixed size.
const hostileMemory = 4 << 20
