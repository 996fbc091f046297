package recipes

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/litgpt"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
)

// places are where a checkpoint has what is checked, as findings call it: the files of a
// directory, the parts of a GGUF file.
type places struct {
	config, weights string
	tokenizer       string // the vocabulary
	specials        string // which tokens are special, and how
	template        string
	addToken        string // advice for a marker that is no token
	ends            string // where another token that ends a text is named
}

var (
	placesHF = places{config: "config.json", weights: "model.safetensors", tokenizer: "tokenizer.json", specials: "tokenizer_config.json", template: "tokenizer_config.json",
		addToken: "add it to added_tokens of tokenizer.json", ends: "eos_token_id of generation_config.json"}
	placesGGUF = places{config: "metadata", weights: "tensors", tokenizer: "tokenizer.ggml.tokens", specials: "tokenizer.ggml", template: "tokenizer.chat_template",
		addToken: "give it an id of type control (3) in tokenizer.ggml.token_type", ends: "tokenizer.ggml.eot_token_id"}
)

// findPlaces says where the checkpoint has its parts. An adapter's own tokenizer files come before
// the tokenizer in its base.
func (c *checker) findPlaces() {
	c.at = placesHF
	switch {
	case c.l.base == "": // nothing is known of the model
	case formOf(c.l.base) == formLit:
		c.at.weights = litgpt.WeightsFile
	case onlyTorch(c.l.base):
		c.at.weights = hfWeights[2]
	case c.gguf != nil:
		c.at.config, c.at.weights = placesGGUF.config, placesGGUF.weights
	}
	if dir := c.l.tokenizerDir(); dir != "" && ggufFile(dir) != "" {
		base := c.at
		c.at = placesGGUF
		c.at.config, c.at.weights = base.config, base.weights
	} else if exists(filepath.Join(dir, "chat_template.jinja")) {
		c.at.template = "chat_template.jinja"
	}
}

// readGGUF opens a GGUF file and makes a configuration of its metadata. Where the model in it cannot
// be, its tokenizer is checked nevertheless.
func (c *checker) readGGUF(file string) {
	const advice = "download or convert the file again"
	f, err := gguf.Open(file)
	if err != nil {
		c.say(severe, "files", filepath.Base(file), advice, "%s", strings.TrimPrefix(err.Error(), file+": "))
		c.l.base = ""
		return
	}
	c.gguf = f
	if t, ok := f.Tensor("token_embd.weight"); ok && len(t.Shape) == 2 {
		c.rows = t.Shape[0]
	}
	m, err := ggufmap.Open(file)
	if err == nil {
		c.l.config, c.l.src = m.Config, m
		err = json.Unmarshal(m.Config, &c.config)
	}
	if err != nil {
		text := strings.TrimPrefix(err.Error(), file+": ")
		at, check := placesGGUF.config, "config"
		if strings.HasPrefix(text, "tensor ") {
			at, check = placesGGUF.weights, "weights"
		}
		c.sayLines(severe, check, at, "the file is damaged, or of a kind of model that is not here", errors.New("the parts of the model:\n"+text))
	}
}

// openAdapterFile finds the base of an adapter that is a GGUF file.
func (c *checker) openAdapterFile(file string) {
	f, err := gguf.Open(file)
	if err != nil {
		return // adapterFile has opened it
	}
	defer f.Close()
	c.adapter, c.l.base = file, ""
	base, err := lora.GGUFBase(f)
	switch {
	case err != nil:
	case base.Path == "":
		c.say(remark, "adapter", filepath.Base(file), "litgpt convert takes the base by --pretrained_checkpoint_dir, and checks that they fit",
			"it does not say which checkpoint it corrects, so that nothing was compared")
		return
	default:
		c.l.base, err = findBase(filepath.Dir(file), base)
	}
	if err != nil {
		c.say(severe, "adapter", filepath.Base(file), "name the base by --pretrained_checkpoint_dir of litgpt convert", "%s", strings.TrimPrefix(err.Error(), filepath.Dir(file)+": "))
		c.l.base = ""
	}
}

// checkGGUF compares what the parts of a GGUF file say of each other.
func (c *checker) checkGGUF() {
	if c.gguf == nil {
		return
	}
	c.checkFileType()
	if c.l.tokenizerDir() == c.l.base {
		c.checkGGUFTokens()
	}
}

// checkFileType compares general.file_type with the tensors, as far as it does not name a mixture: those of
// small models have few weights of the type that they are called by.
func (c *checker) checkFileType() {
	said, err := c.gguf.Int("general.file_type")
	if err != nil || c.l.src == nil {
		return // it may be missing
	}
	stored := string(c.l.storedType())
	floats := map[int64]string{0: "F32", 1: "F16", 32: "BF16"}
	d, ok := tensor.DTypeByName(stored)
	name, plain := floats[said]
	if ok && (plain && name != stored || !plain && !d.Quantized()) {
		if !plain {
			name = "a quantized type"
		}
		c.say(suspect, "dtype", placesGGUF.config, "the types of the tensors are used; programs show this one",
			"general.file_type is %d, %s, and most weights are stored as %s", said, name, stored)
	}
}

// The types of tokens in tokenizer.ggml.token_type.
const (
	ggufNormal      = 1
	ggufControl     = 3
	ggufUserDefined = 4
)

// checkGGUFTokens compares the vocabulary with the embedding, and looks the special tokens up.
func (c *checker) checkGGUFTokens() {
	const key = "tokenizer.ggml."
	tokens, err := c.gguf.Strings(key + "tokens")
	if err != nil || c.tok == nil {
		return // checkTokenizer has said it
	}
	if c.rows > 0 && len(tokens) < c.rows {
		c.say(severe, "vocabulary", c.at.tokenizer, "llama.cpp refuses the file; fill the list up with tokens of type unused (5)",
			"there are %d tokens, and the embedding has %d rows", len(tokens), c.rows)
	}
	for _, k := range c.gguf.Keys() {
		if n, err := c.gguf.Int(k); err == nil && strings.HasSuffix(k, ".vocab_size") && n != int64(len(tokens)) {
			c.say(suspect, "vocabulary", placesGGUF.config, "the tokens are counted here", "%s is %d, and there are %d tokens", k, n, len(tokens))
		}
	}
	types, err := c.gguf.Ints(key + "token_type")
	if err != nil { // it may be missing
		types = nil
	}
	c.added = map[string]rawAdded{}
	for id, token := range tokens {
		if types != nil && (types[id] == ggufControl || types[id] == ggufUserDefined) {
			c.added[token] = rawAdded{ID: int32(id), Content: token, Special: types[id] == ggufControl}
		}
	}
	ids := map[string]int{}
	for _, role := range []string{"bos", "eos", "eot", "eom", "padding"} {
		id, err := c.gguf.Int(key + role + "_token_id")
		if err != nil || id < 0 || id >= int64(len(tokens)) {
			continue // missing, or none
		}
		ids[role] = int(id)
		if types != nil && types[id] == ggufNormal && role != "padding" {
			c.say(suspect, "special-tokens", c.at.specials, "give it the type control (3), or the right id: text of a user can become an ordinary token",
				"%s_token_id is %d, %s, an ordinary token by token_type", role, id, strconv.Quote(tokens[id]))
		}
	}
	if pad, ok := ids["padding"]; ok {
		if eos, ok := ids["eos"]; ok && pad == eos {
			c.say(suspect, "pad", c.at.specials, padAdvice, "padding_token_id is eos_token_id, %d (%q)", pad, tokens[pad])
		}
	}
	around := c.tok.Encode("", true)
	bos, ok := c.tok.BOS()
	adds := ok && len(around) > 0 && around[0] == bos
	if said, err := c.gguf.Bool(key + "add_bos_token"); err == nil && said != adds {
		c.say(suspect, "bos", c.at.specials, "name bos_token_id", "add_bos_token is %t, and there is no token to begin a text with", said)
	}
}
