package tokenizer

import "errors"

// unigramPiece is one token of a Unigram vocabulary with its log probability.
type unigramPiece struct {
	text  string
	score float64
}

// unigram is the Unigram model of SentencePiece.
type unigram struct{ model }

// newUnigram makes the model of pieces, whose places are their ids. unknown is the
// id of the unknown token, -1 without one.
func newUnigram(pieces []unigramPiece, unknown int32, byteFallback bool) (*unigram, error) {
	return nil, errors.New("Unigram is not built in yet")
}
