package sugarme_test

import (
	"fmt"
	"log"

	lib "github.com/sugarme/tokenizer"

	"github.com/litgpt-go/litgpt/tokenizer"
	"github.com/litgpt-go/litgpt/tokenizer/sugarme"
)

func Example() {
	t, err := tokenizer.Load("../testdata/fixture")
	if err != nil {
		log.Fatal(err)
	}
	tk, err := sugarme.New(t)
	if err != nil {
		log.Fatal(err)
	}
	tk.WithTruncation(&lib.TruncationParams{MaxLength: 14, Strategy: lib.OnlySecond, Stride: 1})
	tk.WithPadding(&lib.PaddingParams{
		Strategy: *lib.NewPaddingStrategy(lib.WithFixed(16)), Direction: lib.Right, PadToken: "<pad>",
	})
	e, err := tk.EncodePair("Who?", "First Citizen: Before we proceed any further, hear me speak.", true)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.Ids)
	fmt.Println(e.Tokens)
	fmt.Println(e.TypeIds, e.AttentionMask)
	fmt.Println(len(e.Overflowing), "more parts, the next:", tk.Decode(e.Overflowing[0].Ids, true))
	// Output:
	// [1 59 428 35 1 42 318 300 425 279 77 94 284 30 0 0]
	// [<s> W ho ? <s> F ir st ĠC it i z en : <pad> <pad>]
	// [0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0] [1 1 1 1 1 1 1 1 1 1 1 1 1 1 0 0]
	// 3 more parts, the next: Who?: Before we pro
}
