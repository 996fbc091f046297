package tokenizer

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"testing"
)

// A proto puts the bytes of a protobuf message together.
type proto []byte

func (p proto) number(field int, n uint64) proto {
	return binary.AppendUvarint(binary.AppendUvarint(p, uint64(field)<<3), n)
}

func (p proto) bytes(field int, b string) proto {
	return append(binary.AppendUvarint(binary.AppendUvarint(p, uint64(field)<<3|2), uint64(len(b))), b...)
}

func (p proto) piece(text string, score float32, kind pieceKind) proto {
	q := proto(nil).bytes(1, text)
	q = binary.LittleEndian.AppendUint32(append(q, 2<<3|5), math.Float32bits(score))
	return p.bytes(1, string(q.number(3, uint64(kind))))
}

// trainer sets fields of the trainer_spec that are numbers.
func (p proto) trainer(fields ...uint64) proto {
	var q proto
	for i := 0; i < len(fields); i += 2 {
		q = q.number(int(fields[i]), fields[i+1])
	}
	return p.bytes(2, string(q))
}

// tinySpm is a BPE model of a few pieces, its special ones first.
func tinySpm() proto {
	return proto(nil).piece("<unk>", 0, pieceUnknown).piece("<s>", 0, pieceControl).piece("</s>", 0, pieceControl).
		piece("▁", -3, pieceNormal).piece("a", -4, pieceNormal).piece("b", -5, pieceNormal).piece("ab", -1, pieceNormal).piece("▁a", -2, pieceNormal)
}

func TestSpmErrors(t *testing.T) {
	for want, b := range map[string]proto{
		"no pieces: this is no SentencePiece model":   proto(nil).trainer(3, 2),
		"not a protobuf message, or cut off":          tinySpm()[:20],
		"field 1 has wire type 0, want 2":             proto(nil).number(1, 7),
		"piece 1: is empty":                           proto(nil).piece("a", 0, pieceNormal).piece("", 0, pieceNormal),
		`piece 0: "a\xff" is not UTF-8`:               proto(nil).piece("a\xff", 0, pieceNormal),
		`piece 0: "a" has the score NaN`:              proto(nil).piece("a", float32(math.NaN()), pieceNormal),
		"piece 0: type 9, want 1 to 6":                proto(nil).piece("a", 0, 9),
		"piece 0: has 5000 bytes, want at most 4096":  proto(nil).piece(strings.Repeat("a", 5000), 0, pieceNormal),
		`pieces 4 and 8 are both "a"`:                 tinySpm().piece("a", 0, pieceNormal).trainer(3, 2),
		"pieces 0 and 8 are both of type UNKNOWN":     tinySpm().piece("?", 0, pieceUnknown).trainer(3, 2),
		`byte piece 8 is "<0xG0>"`:                    tinySpm().piece("<0xG0>", 0, pieceByte).trainer(3, 2),
		"model_type WORD is not supported":            tinySpm().trainer(3, 3),
		"model_type CHAR is not supported":            tinySpm().trainer(3, 4),
		"model_type 9 is not supported":               tinySpm().trainer(3, 9),
		"treat_whitespace_as_suffix is not supported": tinySpm().trainer(3, 2, 24, 1),
		"trainer_spec: field 3 has wire type 2":       tinySpm().bytes(2, string(proto(nil).bytes(3, "x"))),
		"normalizer_spec: field 3 has wire type 2":    tinySpm().bytes(3, string(proto(nil).bytes(3, "x"))),
		"precompiled_charsmap of 3 bytes":             tinySpm().bytes(3, string(proto(nil).bytes(2, "abc"))).trainer(3, 2),
		"a trie of 4294967295 bytes in the 0":         tinySpm().bytes(3, string(proto(nil).bytes(2, "\xff\xff\xff\xff"))).trainer(3, 2),
	} {
		if _, err := parseAny(b, "", dirOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestSpmSpecials: control pieces written out are tokens, and the text after one
// begins with the dummy space again; "legacy": false has it at the start only.
func TestSpmSpecials(t *testing.T) {
	b := []byte(tinySpm().trainer(3, 2))
	m, err := parseSpm(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    spmOptions
		text string
		want []int32
	}{
		{"as Open", spmOptions{addBOS: true}, "ab<s>ab</s>", []int32{1, 3, 6, 1, 3, 6, 2}},
		{"with EOS", spmOptions{addEOS: true}, "a", []int32{7, 2}},
		{"once", spmOptions{once: true}, "ab<s>ab", []int32{3, 6, 1, 6}},
		{"plain", spmOptions{plain: true}, "a<s>", []int32{7, 0}},
		{"unknown in a run", spmOptions{}, "xyz a", []int32{3, 0, 7}},
		{"added token", spmOptions{added: []*addedToken{{ID: 9, Content: "<x>", Special: true}}}, "a<x>", []int32{7, 9}},
		{"added in a place that is taken", spmOptions{added: []*addedToken{{ID: 6, Content: "<x>", Special: true}}}, "ab<x>", []int32{7, 5, 6}},
	} {
		m := *m
		m.pieces = slices.Clone(m.pieces)
		tk, err := m.tokenizer(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if got := tk.Encode(c.text, true); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q: got %v, want %v", c.name, c.text, got, c.want)
		}
	}
	tk, err := parseAny(b, "", dirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := tk.EOS(); !slices.Equal(got, []int32{2}) {
		t.Errorf("EOS: got %v", got)
	}
	if got, want := tk.Decode([]int32{1, 7, 5, 2}, true), "ab"; got != want {
		t.Errorf("Decode: got %q, want %q", got, want)
	}
	pair := tk.EncodePair("a", "b", true)
	var ids []int32
	for _, x := range pair {
		ids = append(ids, x.ID)
	}
	if want := []int32{1, 7, 1, 3, 5}; !slices.Equal(ids, want) || pair[4].Type != 1 {
		t.Errorf("EncodePair: got %v, want %v", pair, want)
	}
}

func FuzzSentencePiece(f *testing.F) {
	f.Add([]byte(tinySpm().trainer(3, 2, 35, 1)))
	f.Add([]byte(tinySpm().trainer(3, 1).piece("<0x0A>", 0, pieceByte).piece("xy", -1, pieceUser).bytes(3, string(proto(nil).number(4, 1)))))
	f.Add([]byte(tinySpm().trainer(3, 2).piece("aab", -1, pieceUnused).bytes(3, string(proto(nil).bytes(2, "\x08\x00\x00\x00abcdefgh\x00x\x00").number(3, 0)))))
	for _, name := range []string{"spm-unigram", "spm-bpe"} {
		f.Add(readGz(f, "testdata/"+name+".model.gz"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<17 {
			return
		}
		checkHostile(t, b, func() *Tokenizer {
			tk, err := parseAny(b, "", dirOptions{})
			if err != nil {
				return nil
			}
			return tk
		})
	})
}

func FuzzPrecompiled(f *testing.F) {
	m, err := parseSpm(readGz(f, "testdata/spm-unigram.model.gz"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(m.charsmap), "ﬁ ＡＢ ™ e\u0301")
	f.Add([]byte("\x08\x00\x00\x00abcdefgh\x00x\x00"), "abc")
	f.Fuzz(func(t *testing.T, b []byte, text string) {
		c, err := newPrecompiled(b)
		if err != nil {
			return
		}
		sum, size := 0, 0
		c(text, func(out string, n int) { sum, size = sum+n, size+len(out) })
		if sum != len(text) || size > maxReplacement*len(text) {
			t.Errorf("%q: %d bytes rewritten, to %d", text, sum, size)
		}
		n := spmNormalizer{prefix: true, merge: len(text)%2 == 0, space: "▁"}
		n.charsmap, _ = newCharsmap(b)
		sum = 0
		n.rewrite(text, func(_ string, n int) { sum += n })
		if sum != len(text) {
			t.Errorf("%q: SentencePiece's: %d bytes rewritten of %d", text, sum, len(text))
		}
	})
}
