package tokenizer

// A Splitter is a regular expression that byte-level tokenizers split text with
// before anything is merged: no token crosses the end of a match.
type Splitter struct {
	Name    string // "llama3"
	Pattern string // as in tokenizer.json
	next    scanner
}

// splitters are the expressions by the name of a tokenizer that has it.
var splitters = []Splitter{
	{"llama3", patternLlama3, scanners[patternLlama3]},
	{"gpt2", patternGPT2, scanners[patternGPT2]},
	{"qwen2", patternQwen, scanners[patternQwen]},
	{"tekken", patternTekken, scanners[patternTekken]},
	{"o200k", patternO200k, scanners[patternO200k]},
}

// Splitters returns the splitters we know, the one to take without a reason for
// another first. Llama 3's groups digits by three and knows the contractions of
// English in any case; Qwen 2's is the same with single digits; tekken (Mistral)
// and o200k (GPT-4o) also split words where lower case turns into upper.
func Splitters() []Splitter { return append([]Splitter(nil), splitters...) }

// Next returns the end of the match that begins at text[i], i < len(text). The
// expressions match at every position, so matches follow each other without gaps.
func (s Splitter) Next(text string, i int) int { return s.next(text, i) }
