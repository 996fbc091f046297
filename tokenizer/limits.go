package tokenizer

import (
	"encoding/json"
	"fmt"
)

// Truncation is "truncation" of a tokenizer.json: what the program that wrote the
// file cut texts to. The methods of Tokenizer never truncate: transformers sets the
// file's wish aside as well, and text that goes missing without a word is worth
// more than the few calls that want it. MaxLength 0: the file says nothing.
type Truncation struct {
	MaxLength int    `json:"max_length"` // tokens, special ones included
	Stride    int    `json:"stride"`     // tokens that neighbouring pieces of one text share
	Strategy  string `json:"strategy"`   // "LongestFirst", "OnlyFirst" or "OnlySecond" of a pair
	Direction string `json:"direction"`  // the end that is cut: "Right" or "Left"
}

// Padding is "padding" of a tokenizer.json: how the program that wrote the file
// filled texts up. The methods of Tokenizer never pad. Token "": the file says
// nothing.
type Padding struct {
	Length    int    // tokens; 0: those of the longest text of a batch
	Multiple  int    // a multiple of this many; 0: any number
	Direction string // where: "Right" or "Left"
	ID        int32
	Type      uint8
	Token     string
}

// Truncation returns what the file says of truncation.
func (t *Tokenizer) Truncation() Truncation { return t.truncation }

// Padding returns what the file says of padding.
func (t *Tokenizer) Padding() Padding { return t.padding }

// UnmarshalJSON reads the file's form, in which the strategy is "BatchLongest" or
// {"Fixed": length}.
func (p *Padding) UnmarshalJSON(b []byte) error {
	var file *struct {
		Strategy  json.RawMessage `json:"strategy"`
		Direction string          `json:"direction"`
		Multiple  int             `json:"pad_to_multiple_of"`
		ID        int32           `json:"pad_id"`
		Type      uint8           `json:"pad_type_id"`
		Token     string          `json:"pad_token"`
	}
	if err := json.Unmarshal(b, &file); err != nil || file == nil {
		return err
	}
	*p = Padding{Multiple: file.Multiple, Direction: file.Direction, ID: file.ID, Type: file.Type, Token: file.Token}
	var fixed struct{ Fixed int }
	if len(file.Strategy) > 0 && file.Strategy[0] == '{' {
		if err := json.Unmarshal(file.Strategy, &fixed); err != nil {
			return fmt.Errorf("strategy: %w", err)
		}
		p.Length = fixed.Fixed
	}
	return nil
}
