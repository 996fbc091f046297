package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// spmModel is what we use of a sentencepiece.ModelProto. The fields that are not
// here say how the model was trained.
type spmModel struct {
	pieces       []spmPiece // by id
	kind         int        // 1 unigram, 2 BPE, 3 word, 4 char
	byteFallback bool
	spaceSuffix  bool // treat_whitespace_as_suffix
	unk, bos     int  // ids; below 0: none
	eos          int
	bosText      string // and the pieces that are asked first
	eosText      string

	charsmap    string
	dummyPrefix bool // a space before the text
	mergeSpaces bool // remove_extra_whitespaces: one for several, none at the ends
	escape      bool // spaces become ▁
}

type spmPiece struct {
	text  string
	score float32
	kind  pieceKind
}

// pieceKind is ModelProto.SentencePiece.Type, and tokenizer.ggml.token_type too.
type pieceKind uint8

const (
	pieceNormal  pieceKind = 1 + iota
	pieceUnknown           // stands for what the vocabulary lacks
	pieceControl           // never found by SentencePiece in a text: <s>
	pieceUser              // user defined: found in a text before anything else
	pieceUnused            // cut up again where a merge gives it
	pieceByte              // <0x..>
)

// inText tells whether SentencePiece looks for the piece in a text.
func (k pieceKind) inText() bool { return k == pieceNormal || k == pieceUser || k == pieceUnused }

// maxPieceText bounds one piece: the longest in use have under 100 bytes, and the
// ways to put a piece together grow with its length.
const maxPieceText = 1 << 12

// protoReader walks over the fields of one protobuf message.
type protoReader struct{ b string }

// protoField is one field: varint or fixed32 in n, bytes in b.
type protoField struct {
	number, wire int
	n            uint64
	b            string
}

var errProto = errors.New("not a protobuf message, or cut off")

// next returns the next field; ok is false at the end.
func (r *protoReader) next() (f protoField, ok bool, err error) {
	if len(r.b) == 0 {
		return f, false, nil
	}
	tag, err := r.varint()
	if err != nil {
		return f, false, err
	}
	f.number, f.wire = int(tag>>3&(1<<29-1)), int(tag&7)
	if f.number == 0 || tag>>32 != 0 {
		return f, false, errProto
	}
	size := uint64(0)
	switch f.wire {
	case 0:
		f.n, err = r.varint()
		return f, err == nil, err
	case 1:
		size = 8
	case 2:
		if size, err = r.varint(); err != nil {
			return f, false, err
		}
	case 5:
		size = 4
	default: // groups went out of use before SentencePiece was written
		return f, false, errProto
	}
	if size > uint64(len(r.b)) {
		return f, false, errProto
	}
	f.b, r.b = r.b[:size], r.b[size:]
	if f.wire == 5 {
		f.n = uint64(f.b[0]) | uint64(f.b[1])<<8 | uint64(f.b[2])<<16 | uint64(f.b[3])<<24
	}
	return f, true, nil
}

func (r *protoReader) varint() (uint64, error) {
	n := uint64(0)
	for i := 0; i < len(r.b) && i < 10; i++ {
		c := r.b[i]
		n |= uint64(c&0x7F) << (7 * i)
		if c < 0x80 {
			if i == 9 && c > 1 {
				break
			}
			r.b = r.b[i+1:]
			return n, nil
		}
	}
	return 0, errProto
}

// eachField calls f with those fields of message b that are in want, by number with
// their wire types; another wire type is an error.
func eachField(b string, want map[int]int, f func(protoField) error) error {
	r := protoReader{b}
	for {
		x, ok, err := r.next()
		if err != nil || !ok {
			return err
		}
		wire, known := want[x.number]
		if !known {
			continue
		}
		if wire != x.wire {
			return fmt.Errorf("field %d has wire type %d, want %d", x.number, x.wire, wire)
		}
		if err := f(x); err != nil {
			return err
		}
	}
}

// Wire types by field number (sentencepiece_model.proto).
var (
	modelFields      = map[int]int{1: 2, 2: 2, 3: 2}
	pieceFields      = map[int]int{1: 2, 2: 5, 3: 0}
	trainerFields    = map[int]int{3: 0, 24: 0, 35: 0, 40: 0, 41: 0, 42: 0, 46: 2, 47: 2}
	normalizerFields = map[int]int{2: 2, 3: 0, 4: 0, 5: 0}
)

// parseSpm reads a ModelProto with the defaults of its schema. All texts share one
// copy of the file.
func parseSpm(raw []byte) (*spmModel, error) {
	b := string(raw)
	m := &spmModel{
		kind: 1, unk: 0, bos: 1, eos: 2, bosText: "<s>", eosText: "</s>",
		dummyPrefix: true, mergeSpaces: true, escape: true,
	}
	n := 0
	if err := eachField(b, modelFields, func(f protoField) error {
		if f.number == 1 {
			n++
		}
		return nil
	}); err != nil {
		return nil, err
	}
	m.pieces = make([]spmPiece, 0, n)
	err := eachField(b, modelFields, func(f protoField) error {
		switch f.number {
		case 1:
			p, err := parsePiece(f.b)
			if err != nil {
				return fmt.Errorf("piece %d: %w", len(m.pieces), err)
			}
			m.pieces = append(m.pieces, p)
		case 2:
			if err := m.readTrainer(f.b); err != nil {
				return fmt.Errorf("trainer_spec: %w", err)
			}
		case 3:
			if err := m.readNormalizer(f.b); err != nil {
				return fmt.Errorf("normalizer_spec: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(m.pieces) == 0 {
		return nil, errors.New("no pieces: this is no SentencePiece model")
	}
	return m, nil
}

func parsePiece(b string) (spmPiece, error) {
	p := spmPiece{kind: pieceNormal}
	r := protoReader{b} // not eachField: this runs for each of 256,000 pieces
	for {
		f, ok, err := r.next()
		if err != nil {
			return p, err
		}
		if !ok {
			break
		}
		wire, known := pieceFields[f.number]
		switch {
		case !known:
		case wire != f.wire:
			return p, fmt.Errorf("field %d has wire type %d, want %d", f.number, f.wire, wire)
		case f.number == 1:
			p.text = f.b
		case f.number == 2:
			p.score = math.Float32frombits(uint32(f.n))
		case f.n < uint64(pieceNormal) || f.n > uint64(pieceByte):
			return p, fmt.Errorf("type %d, want 1 to %d", f.n, pieceByte)
		default:
			p.kind = pieceKind(f.n)
		}
	}
	switch {
	case p.text == "":
		return p, errors.New("is empty")
	case len(p.text) > maxPieceText:
		return p, fmt.Errorf("has %d bytes, want at most %d", len(p.text), maxPieceText)
	case !utf8.ValidString(p.text):
		return p, fmt.Errorf("%q is not UTF-8", p.text)
	case math.IsNaN(float64(p.score)) || math.IsInf(float64(p.score), 0):
		return p, fmt.Errorf("%q has the score %v", p.text, p.score)
	}
	return p, nil
}

func (m *spmModel) readTrainer(b string) error {
	return eachField(b, trainerFields, func(f protoField) error {
		id := int(int32(f.n)) // -1 is written as 2^64-1
		switch f.number {
		case 3:
			m.kind = id
		case 24:
			m.spaceSuffix = f.n != 0
		case 35:
			m.byteFallback = f.n != 0
		case 40:
			m.unk = id
		case 41:
			m.bos = id
		case 42:
			m.eos = id
		case 46:
			m.bosText = f.b
		case 47:
			m.eosText = f.b
		}
		return nil
	})
}

func (m *spmModel) readNormalizer(b string) error {
	return eachField(b, normalizerFields, func(f protoField) error {
		switch f.number {
		case 2:
			m.charsmap = f.b
		case 3:
			m.dummyPrefix = f.n != 0
		case 4:
			m.mergeSpaces = f.n != 0
		case 5:
			m.escape = f.n != 0
		}
		return nil
	})
}
