package recipes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// rawAdded is an added token as one of the files has it.
type rawAdded struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	Special    bool   `json:"special"`
	StripLeft  bool   `json:"lstrip"`
	StripRight bool   `json:"rstrip"`
	SingleWord bool   `json:"single_word"`
	Normalized bool   `json:"normalized"`
}

// checkTokenizer loads the tokenizer.
func (c *checker) checkTokenizer() {
	dir := c.l.tokenizerDir()
	if dir == "" {
		return
	}
	file := ggufFile(dir)
	found := file != "" && (c.gguf == nil || c.gguf.Has("tokenizer.ggml.model"))
	for _, pattern := range []string{"tokenizer.json", "tokenizer.model", "*.tiktoken"} {
		files, _ := filepath.Glob(filepath.Join(escapeGlob(dir), pattern))
		found = found || file == "" && len(files) > 0
	}
	if !found {
		c.say(suspect, "tokenizer", c.at.tokenizer, "copy it from the model that this one comes from", "there is no tokenizer, so that nothing but lists of ids can be used")
		return
	}
	tok, err := loadTokenizer(dir)
	if err != nil {
		c.say(severe, "tokenizer", c.at.tokenizer, "download the tokenizer again", "it cannot be read: %s", strings.TrimPrefix(err.Error(), file+": "))
		return
	}
	c.tok = tok
	if size := tok.VocabSize(); c.rows > 0 && size > c.rows {
		c.say(severe, "vocabulary", c.at.tokenizer, "the tokenizer is of another model, or the embedding was to grow with the tokens that were added",
			"the tokenizer has ids up to %d, and the model's embedding %d rows", size-1, c.rows)
	} else if size < c.rows {
		c.say(remark, "vocabulary", c.at.tokenizer, "", "the embedding has %d rows, %d more than the tokenizer has ids", c.rows, c.rows-size)
	}
}

// rawTokenizer reads the tokens of tokenizer.json: the added ones, and those of the model by id.
func rawTokenizer(path string) (added []rawAdded, vocab map[int32][]string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var file struct {
		Added []rawAdded `json:"added_tokens"`
		Model struct {
			Vocab json.RawMessage `json:"vocab"`
		} `json:"model"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, nil, err
	}
	vocab = map[int32][]string{}
	var byToken map[string]int32
	var list [][]any // Unigram: pieces and scores, in the order of their ids
	if err := json.Unmarshal(file.Model.Vocab, &byToken); err == nil {
		for token, id := range byToken {
			vocab[id] = append(vocab[id], token)
		}
	} else if err := json.Unmarshal(file.Model.Vocab, &list); err == nil {
		for i, entry := range list {
			if len(entry) > 0 {
				vocab[int32(i)] = []string{fmt.Sprint(entry[0])}
			}
		}
	}
	return file.Added, vocab, nil
}

// checkAddedTokens looks for two tokens of one id and two ids of one token, and compares
// what the other files say of added tokens.
func (c *checker) checkAddedTokens() {
	dir := c.l.tokenizerDir()
	added, vocab, err := rawTokenizer(filepath.Join(dir, "tokenizer.json"))
	if dir == "" || err != nil { // what cannot be read was said
		return
	}
	const where = "tokenizer.json"
	const advice = "give one of them another id, that which the model was trained with"
	c.added = map[string]rawAdded{}
	byID, ids := map[int32]string{}, map[string]int32{}
	for _, id := range slices.Sorted(maps.Keys(vocab)) {
		slices.Sort(vocab[id])
		for _, token := range vocab[id] {
			ids[token] = id
		}
		if len(vocab[id]) > 1 {
			c.say(severe, "token-ids", where, advice, "id %d is %s", id, quoted(vocab[id]))
		}
	}
	for _, a := range added {
		if other, ok := byID[a.ID]; ok && other != a.Content {
			c.say(severe, "token-ids", where, advice, "id %d is %q and %q among the added tokens", a.ID, other, a.Content)
		}
		if other, ok := c.added[a.Content]; ok && other.ID != a.ID {
			c.say(severe, "token-ids", where, "remove one", "the added token %q is %d and %d", a.Content, other.ID, a.ID)
		}
		if tokens := vocab[a.ID]; len(tokens) > 0 && !slices.Contains(tokens, a.Content) {
			c.say(severe, "token-ids", where, advice, "id %d is the added token %q and %s in the vocabulary", a.ID, a.Content, quoted(tokens))
		}
		if id, ok := ids[a.Content]; ok && id != a.ID {
			c.say(severe, "token-ids", where, "give it one id", "%q is %d among the added tokens and %d in the vocabulary", a.Content, a.ID, id)
		} else if c.tok != nil && !ok {
			// Hugging Face's library numbers added tokens that the vocabulary lacks itself, and so does this program.
			if id, known := c.tok.ID(a.Content); known && id != a.ID && c.added[a.Content].ID != id {
				c.say(severe, "token-ids", where, "ids of added tokens go on from the vocabulary without gaps", "the added token %q is to be %d, but becomes %d", a.Content, a.ID, id)
			}
		}
		byID[a.ID], c.added[a.Content] = a.Content, a
		if c.rows > 0 && int(a.ID) >= c.rows && c.tok == nil { // else checkTokenizer said it of the largest
			c.say(severe, "vocabulary", where, "the embedding was to grow with the tokens that were added", "the added token %q is %d, and the embedding has %d rows", a.Content, a.ID, c.rows)
		}
	}
	c.checkDecoder()
	c.checkAddedFile(dir)
}

// quoted lists some tokens.
func quoted(tokens []string) string {
	var list []string
	for _, t := range tokens[:min(4, len(tokens))] {
		list = append(list, strconv.Quote(t))
	}
	return strings.Join(list, " and ")
}

// checkDecoder compares added_tokens_decoder of tokenizer_config.json, which transformers
// adds to what tokenizer.json has.
func (c *checker) checkDecoder() {
	const where = "tokenizer_config.json"
	var decoder map[string]rawAdded
	if !c.tokConfig.get("added_tokens_decoder", &decoder) || c.tok == nil {
		return
	}
	keys := slices.Collect(maps.Keys(decoder))
	slices.SortFunc(keys, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		want := decoder[key]
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			c.say(severe, "added-tokens", where, "", "added_tokens_decoder has the id %.40q", key)
			continue
		}
		want.ID = int32(id)
		have, ok := c.added[want.Content]
		at, known := c.tok.ID(want.Content)
		const advice = "transformers takes the one, this program the other; make the two files say the same"
		switch {
		case !known:
			other, _ := c.tok.Token(want.ID)
			c.say(severe, "added-tokens", where, advice, "added_tokens_decoder says that %d is %q; in tokenizer.json %s", id, want.Content, namedOr(other, "no token has that id"))
		case at != want.ID:
			c.say(severe, "added-tokens", where, advice, "added_tokens_decoder says that %q is %d; in tokenizer.json it is %d", want.Content, id, at)
		case !ok:
			c.say(suspect, "added-tokens", where, "transformers never splits it, this program may; add it to added_tokens of tokenizer.json",
				"added_tokens_decoder has %q (%d), which is no added token in tokenizer.json", want.Content, id)
		case have != want:
			c.say(suspect, "added-tokens", where, "tokenizer.json is used here", "added_tokens_decoder and tokenizer.json differ about %q: %s", want.Content, flagsThatDiffer(want, have))
		}
	}
}

func namedOr(token, none string) string {
	if token == "" {
		return none
	}
	return fmt.Sprintf("that is %q", token)
}

// flagsThatDiffer lists what a and b disagree about.
func flagsThatDiffer(a, b rawAdded) string {
	var list []string
	for _, f := range []struct {
		name string
		a, b bool
	}{{"special", a.Special, b.Special}, {"lstrip", a.StripLeft, b.StripLeft}, {"rstrip", a.StripRight, b.StripRight},
		{"single_word", a.SingleWord, b.SingleWord}, {"normalized", a.Normalized, b.Normalized}} {
		if f.a != f.b {
			list = append(list, fmt.Sprintf("%s is %t and %t", f.name, f.a, f.b))
		}
	}
	return strings.Join(list, ", ")
}

// checkAddedFile compares added_tokens.json, an object of contents and ids.
func (c *checker) checkAddedFile(dir string) {
	const where = "added_tokens.json"
	if c.tok == nil || !exists(filepath.Join(dir, where)) {
		return
	}
	for content, raw := range sortedObject(c.read(dir, where)) {
		var want int32
		if json.Unmarshal(raw, &want) != nil {
			c.say(severe, "added-tokens", where, "", "the id of %.40q is %.40s", content, raw)
			continue
		}
		if id, ok := c.tok.ID(content); !ok {
			c.say(suspect, "added-tokens", where, "tokenizer.json is used", "%q (%d) is no token in tokenizer.json", content, want)
		} else if id != want {
			c.say(severe, "added-tokens", where, "tokenizer.json is used; a program that reads this file gets other ids", "%q is %d here and %d in tokenizer.json", content, want, id)
		}
	}
}

// sortedObject goes through an object by its keys.
func sortedObject(o object) func(yield func(string, json.RawMessage) bool) {
	return func(yield func(string, json.RawMessage) bool) {
		for _, key := range slices.Sorted(maps.Keys(o)) {
			if !yield(key, o[key]) {
				return
			}
		}
	}
}

// checkOtherVocabulary compares tokenizer.model with the tokenizer.json that is used.
func (c *checker) checkOtherVocabulary() {
	const where = "tokenizer.model"
	path := filepath.Join(c.l.tokenizerDir(), where)
	if c.tok == nil || !exists(filepath.Join(c.l.tokenizerDir(), "tokenizer.json")) || !exists(path) {
		return
	}
	other, err := tokenizer.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		c.say(suspect, "tokenizer-model", where, "tokenizer.json is used", "it cannot be read: %v", err)
		return
	}
	differ, first := 0, ""
	for id := range int32(min(other.VocabSize(), c.tok.VocabSize())) {
		a, _ := c.tok.Token(id)
		b, _ := other.Token(id)
		if _, isAdded := c.added[a]; a == b || isAdded {
			continue // an added token may have taken the place of an unused piece
		}
		if differ++; differ == 1 {
			first = fmt.Sprintf("id %d is %q in tokenizer.json and %q here", id, a, b)
		}
	}
	if differ > 0 {
		c.say(severe, "tokenizer-model", where, "one of the files is of another model; tokenizer.json is used", "%s; %s in all", first, plural(differ, "difference"))
	} else if n := other.VocabSize(); n > c.tok.VocabSize() {
		c.say(suspect, "tokenizer-model", where, "tokenizer.json is used", "it has %d pieces, %d more than tokenizer.json has ids", n, n-c.tok.VocabSize())
	}
}
