package generate

import (
	"github.com/litgpt-go/litgpt/internal/sample"
)

// Request asks for a continuation. The engine knows token ids only; text is the
// business of its callers.
type Request struct {
	Prompt     []int32
	MaxTokens  int // 0: until the context is full
	Sampling   sample.Config
	Constraint Constraint            // of what may come; nil for none
	End        []int32               // ids after which nothing more is generated; the id is yielded
	Logprobs   int                   // 0: none; n: the log-probability of each token and the n-1 likeliest
	Adapter    string                // name given to AddAdapter; "" for the base
	Progress   func(done, total int) // of the prompt's tokens, those of a shared prefix included; may be nil

	sampler Sampler // instead of Sampling's, for tests
}

// Token is one that was generated.
type Token struct {
	ID      int32
	Logprob float32     // natural logarithm of the model's own probability, before sampling's settings; with Request.Logprobs only
	Top     []Candidate // the likeliest, likeliest first; with Request.Logprobs above 1 only
	Reason  Reason      // why it is the last; "" while more come
	Cached  int         // of the first token: tokens of the prompt that were found in the KV cache
}

// Reason is why a continuation ended.
type Reason string

// The reasons.
const (
	Stopped Reason = "stop"   // an id of Request.End, or the constraint is done
	Length  Reason = "length" // MaxTokens, or the context is full
)

// Candidate is a token with its log-probability.
type Candidate = sample.Candidate

// Constraint restricts what is generated, token by token, as a grammar does. The engine calls it
// from other goroutines than the caller of Generate, one at a time, until Generate has returned.
type Constraint interface {
	// Allowed returns the tokens that may come next; nil for all. It is valid until Accept.
	// Ids that end the sequence are allowed where the text is complete.
	Allowed() sample.Mask

	// Accept takes the token that was chosen, one of those allowed.
	Accept(id int32) error

	// Done reports that nothing more can come: generation ends without another token.
	Done() bool
}

// Sampler chooses the next id; package sample has one. Slices are valid during the call.
type Sampler interface {
	// See tells it the prompt, and Accept the tokens that were generated.
	See(ids ...int32)
	Accept(id int32)

	// Next chooses one of the allowed ids, of all where that is nil, by the logits (V) of the whole vocabulary.
	Next(logits []float32, allowed sample.Mask) (int32, error)

	// Need is how many of the largest logits are enough to choose by without a mask; 0 for all.
	Need() int

	// Pick chooses as Next does, by the min(Need, V) largest logits, in the order of [tensor.Tensor.TopK], and their ids.
	Pick(logits []float32, ids []int32) (int32, error)
}

// Stats are counts of an engine.
type Stats struct {
	Running, Waiting  int   // requests now
	Pages, UsedPages  int   // of the KV cache; shared ones once
	Prompt, Cached    int64 // tokens of prompts so far, and how many of them were found in the cache
	Generated         int64
	Drafted, Accepted int64 // tokens guessed by speculation, and those that were right
	Preempted         int64 // requests that gave their pages to older ones and were read again
	Passes, Compiled  int64 // runs of the model, and graphs made for them
}
