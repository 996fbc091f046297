package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// LitGPT's vector: 12 tokens are 4 samples of 3, or 2 of 6.
func TestTextWindows(t *testing.T) {
	dir := write(t, map[string]string{"a.txt": "\n abcde\t\n", "b.txt": "fg\r\nhi\rj  ", "c.text": "not read"})
	val := write(t, map[string]string{"v.txt": "\uFEFFvwxyz"})
	for _, c := range []struct {
		max  int
		want []string
	}{
		{2, []string{"\x00ab", "cde", "\x00fg", "\nhi"}}, // and "\nj", which fills none
		{5, []string{"\x00abcde", "\x00fg\nhi"}},
	} {
		train, v := open(t, textConfig(dir, val), Options{MaxSeqLength: c.max})
		equal(t, "training windows", rows(train), c.want)
		equal(t, "longest", train.Longest(), c.max+1)
		equal(t, "first validation window", rows(v)[0], ("\x00vwxyz")[:c.max+1])
		b := train.Batch([]int{0, 1}, 0)
		equal(t, "(B, T)", []int{b.B, b.T}, []int{2, c.max})
		equal(t, "last target of a row", b.Targets[c.max-1], int32(c.want[0][c.max]))
		if slices.Contains(b.Targets, Ignore) {
			t.Errorf("got targets %v, want a loss everywhere", b.Targets)
		}
	}
}

func TestTextValidation(t *testing.T) {
	long := strings.Repeat("0123456789", 20) // 201 tokens
	dir := write(t, map[string]string{"b.txt": "second", "a.txt": "first.", "c.txt": "third."})
	single := filepath.Join(write(t, map[string]string{"x": long}), "x")
	for _, c := range []struct {
		name        string
		train, val  string
		max         int
		n           []int
		firstVal    string
		report      string
		lastTrained string
	}{
		{"first of several", dir, "", 6, []int{2, 1}, "\x00first.", "a.txt is held out for validation, being the first of 3 files", "\x00third."},
		{"end of one", single, "", 9, []int{19, 1}, "0123456789", "the last 10 of 201 tokens", "9012345678"[:10]},
		{"end of one, longer windows", single, "", 99, []int{1, 1}, long[100:], "the last 100 of 201 tokens", "\x00" + long[:99]},
		{"a file", dir, filepath.Join(dir, "c.txt"), 6, []int{3, 1}, "\x00third.", "c.txt: training text as well", "\x00third."},
		{"the same directory", dir, dir, 6, []int{3, 3}, "\x00first.", "validation loss will look better", "\x00third."},
	} {
		train, val := open(t, textConfig(c.train, c.val), Options{MaxSeqLength: c.max})
		equal(t, c.name+": samples", []int{train.Len(), val.Len()}, c.n)
		equal(t, c.name+": first validation sample", rows(val)[0], c.firstVal)
		equal(t, c.name+": last training sample", rows(train)[train.Len()-1], c.lastTrained)
		wantReport(t, train, c.report)
	}
}

func TestTextErrors(t *testing.T) {
	dir := write(t, map[string]string{
		"good.txt": "some text", "empty.txt": "", "blank.txt": " \n\u00a0\t", "latin.txt": "ab\ncd\xe9", "cut.txt": "caf\xc3", "utf16.txt": "\xff\xfea\x00",
	})
	none := write(t, map[string]string{"readme.md": "text"})
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		train, val string
		max        int
		want       []string
	}{
		{"", "", 0, []string{"give --data.train_data_path", "train.max_seq_length 0"}},
		{file("no.txt"), file("nor.txt"), 4, []string{"data.train_data_path " + file("no.txt") + " does not exist", "data.val_data_path " + file("nor.txt") + " does not exist"}},
		{none, "", 4, []string{"no .txt files among its 1 entries"}},
		{dir, "", 4, []string{"empty.txt: holds no text", "blank.txt: holds no text", "latin.txt:2:3: not UTF-8 text (byte 0xe9)", "cut.txt:1:4: not UTF-8 text (byte 0xc3)", "utf16.txt:1:1: not UTF-8"}},
		{file("good.txt"), file("empty.txt"), 4, []string{"empty.txt: holds no text"}},
		{file("good.txt"), "", 5, []string{"good.txt: 10 tokens are not enough for a training and a validation sample of 6", "--train.max_seq_length"}},
		{file("good.txt"), file("good.txt"), 10, []string{"good.txt: 10 tokens are not enough for a sample of 11"}},
	} {
		_, _, err := Open(t.Context(), textConfig(c.train, c.val), Options{Tokenizer: bytesTok{}, MaxSeqLength: c.max, CacheDir: t.TempDir()})
		wantError(t, err, c.want...)
	}
	cfg := textConfig(dir, "")
	cfg.TextFiles.NumWorkers = -2
	_, _, err := Open(t.Context(), cfg, Options{Tokenizer: bytesTok{}, MaxSeqLength: 4})
	wantError(t, err, "data.num_workers -2")
}

// A document of several pieces has the tokens it has as a whole.
func TestTextPieces(t *testing.T) {
	const size = 20 << 10
	b, err := os.ReadFile(filepath.Join("testdata", "shakespeare.txt"))
	if err != nil {
		t.Fatal(err)
	}
	english := strings.TrimSpace(strings.Repeat(string(b), 3*size/len(b)))
	for name, text := range map[string]string{
		"english":    english,
		"greek":      strings.TrimSpace(strings.Repeat("Ἄνδρα μοι ἔννεπε, Μοῦσα, πολύτροπον. ", size/20)),
		"one word":   strings.Repeat("é", size),
		"crlf":       strings.ReplaceAll(english, "\n", "\r\n"),
		"whitespace": "a" + strings.Repeat(" ", 2*size) + "b",
	} {
		path := filepath.Join(write(t, map[string]string{"x.txt": "  " + text + "\n"}), "x.txt")
		text = strings.ReplaceAll(text, "\r\n", "\n")
		for _, tok := range []Tokenizer{bytesTok{}, wordsTok{}, wordsTok{prefix: true}} {
			s, err := scanFile(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			var pieces []string
			var ids []int32
			var bytes int64
			if err := s.pieces(tok, size, func(p piece) error {
				equal(t, "first", p.first, len(pieces) == 0)
				pieces = append(pieces, p.text)
				ids = append(ids, tok.Encode(p.text, false)...)
				bytes += p.bytes
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			equal(t, "bytes", bytes, s.size)
			if len(pieces) < 2 {
				t.Errorf("%s: got %d pieces, want several", name, len(pieces))
			}
			for _, p := range pieces {
				if len(p) > size+size/4 || firstInvalid([]byte(p)) >= 0 {
					t.Errorf("%s: got a piece of %d bytes, valid: %v", name, len(p), firstInvalid([]byte(p)) < 0)
				}
			}
			want := tok.Encode(text, false)
			if _, isBytes := tok.(bytesTok); !isBytes && (name == "one word" || name == "whitespace") {
				// a word is a token here, and cannot be cut in two
				if d := len(ids) - len(want); d < 0 || d > 2*len(pieces) {
					t.Errorf("%s: %+v: got %d tokens of %d pieces, want %d or a few more", name, tok, len(ids), len(pieces), len(want))
				}
			} else if !slices.Equal(ids, want) {
				t.Errorf("%s: %+v: the tokens of the pieces are not those of the text", name, tok)
			}
		}
	}
}

func TestTextChangedWhileRead(t *testing.T) {
	path := filepath.Join(write(t, map[string]string{"x.txt": "before"}), "x.txt")
	s, err := scanFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.pieces(bytesTok{}, pieceSize, func(piece) error { return nil }), "x.txt: changed while it was read")
}

func TestBeginning(t *testing.T) {
	for _, c := range []struct {
		tok  Tokenizer
		want []int32
	}{
		{bytesTok{}, []int32{0}},
		{endingTok{}, []int32{0}},
		{wordsTok{}, []int32{0}}, // its end, for it has no beginning
		{wordsTok{prefix: true}, []int32{0}},
		{namedTok{}, []int32{5}}, // that it does not put there by itself
		{endlessWords{}, nil},
	} {
		equal(t, fmt.Sprintf("%T", c.tok), beginning(c.tok), c.want)
	}
}

type namedTok struct{ wordsTok }

func (namedTok) BOS() (int32, bool) { return 5, true }

type endlessWords struct{ wordsTok }

func (endlessWords) EOS() []int32       { return nil }
func (endlessWords) BOS() (int32, bool) { return 0, false }

func TestTextWithoutBorders(t *testing.T) {
	dir := write(t, map[string]string{"a.txt": "a b c", "b.txt": "d e f"})
	train, val := open(t, textConfig(dir, dir), Options{Tokenizer: endlessWords{}, MaxSeqLength: 2})
	equal(t, "windows", []int{train.Len(), val.Len()}, []int{2, 2})
	wantReport(t, train, "nothing marks where one file ends")
}

// Characters and line ends across the borders of what is read at a time.
func TestReader(t *testing.T) {
	for _, c := range []struct {
		text, want string
		at         int64 // of the byte that is not UTF-8, or -1
	}{
		{"", "", -1},
		{"\uFEFF", "", -1},
		{"a\r\nb\rc\n\r\n\r", "a\nb\nc\n\n\n", -1},
		{"é€𝄞\r\n", "é€𝄞\n", -1},
		{"\uFEFFé\uFEFF", "é\uFEFF", -1},
		{"é\xff", "", 2},
		{"\uFEFFab\xe2\x82", "", 2},
		{"\xe2\x82a", "", 0},
		{strings.Repeat("€\r\n", chunkSize/2), strings.Repeat("€\n", chunkSize/2), -1},
	} {
		for name, src := range map[string]*reader{
			"whole":       newReader(strings.NewReader(c.text), true),
			"byte a time": newReader(iotest.OneByteReader(strings.NewReader(c.text)), true),
			"err at end":  newReader(iotest.DataErrReader(strings.NewReader(c.text)), true),
		} {
			var got strings.Builder
			var err error
			for p := make([]byte, 7); err == nil; {
				var n int
				n, err = src.Read(p)
				got.Write(p[:n])
			}
			var enc *encodingError
			if errors.As(err, &enc) != (c.at >= 0) || (enc != nil && enc.offset != c.at) {
				t.Errorf("%.20q, %s: got error %v, want one at %d", c.text, name, err, c.at)
			}
			if c.at < 0 && got.String() != c.want {
				t.Errorf("%.20q, %s: got %.30q, want %.30q", c.text, name, got.String(), c.want)
			}
		}
	}
	src := newReader(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("abc"))), false)
	var err error
	for p := make([]byte, 8); err == nil; {
		_, err = src.Read(p)
	}
	if !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v, want %v", err, iotest.ErrTimeout)
	}
}

// Results come in order, and the first error of either end is the result.
func TestOrdered(t *testing.T) {
	bad := errors.New("bad")
	for _, c := range []struct {
		name             string
		workers          int
		failProduce      int
		failConsume      int
		cancelAt         int
		want             error
		wantConsumedUpTo int
	}{
		{"well", 4, -1, -1, -1, nil, 1000},
		{"no workers given", 0, -1, -1, -1, nil, 1000},
		{"producer fails", 3, 100, -1, -1, bad, 100},
		{"consumer fails", 3, -1, 50, -1, bad, 50},
		{"cancelled", 3, -1, -1, 70, context.Canceled, 70},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		next := 0
		err := ordered(ctx, c.workers, func(yield func(int) error) error {
			for i := range 1000 {
				if i == c.failProduce {
					return bad
				}
				if err := yield(i); err != nil {
					return err
				}
			}
			return nil
		}, func(i int) int { return i * i }, func(sq int) error {
			equal(t, c.name+": result", sq, next*next)
			if next == c.failConsume {
				return bad
			}
			if next++; next == c.cancelAt {
				cancel()
			}
			return nil
		})
		cancel()
		if err != c.want || next != c.wantConsumedUpTo {
			t.Errorf("%s: got %v after %d, want %v after %d", c.name, err, next, c.want, c.wantConsumedUpTo)
		}
	}
}

func BenchmarkOpenText(b *testing.B) {
	text, err := os.ReadFile(filepath.Join("testdata", "shakespeare.txt"))
	if err != nil {
		b.Fatal(err)
	}
	dir := write(b, map[string]string{"x.txt": strings.Repeat(string(text), 500)})
	cfg := textConfig(filepath.Join(dir, "x.txt"), "")
	size := fileSize(filepath.Join(dir, "x.txt"))
	for _, c := range []struct {
		name string
		dir  func() string // of the cache
	}{
		{"tokenize", func() string { return b.TempDir() }},
		{"cached", func() string { return filepath.Join(dir, "cache") }},
	} {
		b.Run(c.name, func(b *testing.B) {
			open(b, cfg, Options{MaxSeqLength: 512, CacheDir: c.dir()})
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				open(b, cfg, Options{MaxSeqLength: 512, CacheDir: c.dir()})
			}
		})
	}
}
