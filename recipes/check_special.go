package recipes

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// roles are the special tokens that tokenizer_config.json and special_tokens_map.json name.
var roles = []string{"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}

// padAdvice is for a token that pads texts and ends them, too.
const padAdvice = "programs that leave padding out of the loss by its id never train the end of an answer; this one does not go by the id"

// contentOf reads a special token: a string, or an object with its content.
func contentOf(o object, role string) (string, bool) {
	var text string
	if o.get(role, &text) {
		return text, true
	}
	var token struct {
		Content *string `json:"content"`
	}
	if o.get(role, &token) && token.Content != nil {
		return *token.Content, true
	}
	return "", false
}

// checkSpecialTokens looks each special token up in the vocabulary.
func (c *checker) checkSpecialTokens() {
	if c.tok == nil {
		return
	}
	used := map[string]string{}
	for _, role := range roles {
		from := "tokenizer_config.json"
		content, ok := contentOf(c.tokConfig, role)
		other, inMap := contentOf(c.tokMap, role)
		if ok && inMap && content != other {
			c.say(suspect, "special-tokens", "special_tokens_map.json", "tokenizer_config.json is used; make them the same", "%s is %q here and %q in tokenizer_config.json", role, other, content)
		}
		if _, said := c.tokConfig[role]; !said && inMap {
			content, ok, from = other, true, "special_tokens_map.json"
		}
		if !ok {
			continue
		}
		used[role] = content
		if _, ok := c.tok.ID(content); !ok {
			severity, advice := suspect, "name a token of tokenizer.json"
			if role == "bos_token" || role == "eos_token" {
				severity, advice = severe, advice+": transformers would give it an id of its own, which the model does not know"
			}
			c.say(severity, "special-tokens", from, advice, "%s is %q, which is not in the vocabulary", role, content)
		}
	}
	if pad, ok := used["pad_token"]; ok && pad == used["eos_token"] {
		c.say(suspect, "pad", "tokenizer_config.json", padAdvice,
			"pad_token is eos_token, %q", pad)
	}
}

// tokenIDs reads a key that is an id, a list of ids or null; -1 is some
// configurations' word for none. bad says why it is none of these.
func tokenIDs(o object, key string) (ids []int, bad string) {
	raw, ok := o[key]
	if !ok || string(raw) == "null" {
		return nil, ""
	}
	var values []float64
	if json.Unmarshal(raw, &values) != nil {
		var one float64
		if json.Unmarshal(raw, &one) != nil {
			return nil, fmt.Sprintf("%s is %.40s; an id, or a list of ids, wanted", key, raw)
		}
		values = []float64{one}
	}
	for _, v := range values {
		if v != math.Trunc(v) || v > math.MaxInt32 {
			return nil, fmt.Sprintf("%s has %v, which is no id", key, v)
		}
		if v >= 0 {
			ids = append(ids, int(v))
		}
	}
	return ids, ""
}

// checkTokenIDs looks the ids of config.json and generation_config.json up.
func (c *checker) checkTokenIDs() {
	text := object{}
	c.config.get("text_config", &text)
	var padded []int // said once
	for _, from := range []struct {
		where string
		o     object
	}{{c.at.config, c.config}, {c.at.config + ": text_config", text}, {"generation_config.json", c.generation}} {
		for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id"} {
			ids, bad := tokenIDs(from.o, key)
			if bad != "" {
				c.say(severe, "token-ids", from.where, "", "%s", bad)
			}
			known := 0
			for _, id := range ids {
				if c.rows > 0 && id >= c.rows {
					c.say(severe, "token-ids", from.where, "the id is of another model's vocabulary", "%s has %d, and the embedding %d rows", key, id, c.rows)
					continue
				}
				if c.tok == nil {
					continue
				}
				if _, ok := c.tok.Token(int32(id)); ok {
					known++
					continue
				}
				severity := suspect
				if key == "eos_token_id" && known == 0 && id == ids[len(ids)-1] {
					severity = severe // none of them can end an answer
				}
				c.say(severity, "token-ids", from.where, "the id is of another vocabulary", "%s has %d, which is no token of the tokenizer", key, id)
			}
		}
		pad, _ := tokenIDs(from.o, "pad_token_id")
		eos, _ := tokenIDs(from.o, "eos_token_id")
		if len(pad) == 1 && slices.Contains(eos, pad[0]) && !slices.Equal(pad, padded) {
			padded = pad
			c.say(suspect, "pad", from.where, padAdvice,
				"pad_token_id %d is an eos_token_id", pad[0])
		}
	}
}

// checkEOS compares what the files say of the end of an answer.
func (c *checker) checkEOS() {
	fromConfig, _ := tokenIDs(c.config, "eos_token_id")
	fromGeneration, _ := tokenIDs(c.generation, "eos_token_id")
	meets := func(a, b []int) bool {
		return slices.ContainsFunc(a, func(id int) bool { return slices.Contains(b, id) })
	}
	if fromConfig != nil && fromGeneration != nil && !meets(fromConfig, fromGeneration) {
		c.say(suspect, "eos", "generation_config.json", "this program stops at all of them; transformers' generate goes by generation_config.json alone",
			"eos_token_id is %v here and %v in config.json", fromGeneration, fromConfig)
	}
	if c.tok == nil {
		return
	}
	content, ok := contentOf(c.tokConfig, "eos_token")
	if _, said := c.tokConfig["eos_token"]; !said && !ok {
		content, ok = contentOf(c.tokMap, "eos_token")
	}
	id, known := c.tok.ID(content)
	where, stops := "generation_config.json", fromGeneration
	if stops == nil {
		where, stops = c.at.config, fromConfig
	}
	if ok && known && stops != nil && !slices.Contains(stops, int(id)) {
		advice := fmt.Sprintf("add %d, which training puts behind answers; transformers' generate would not stop there (this program does)", id)
		if first := c.tok.EOS()[0]; first != id { // Load has set a BOS named as EOS aside
			advice = fmt.Sprintf("correct eos_token; this program ends answers with %d, since %d begins a text", first, id)
		}
		c.say(suspect, "eos", where, advice, "eos_token_id is %v, without the tokenizer's eos_token %q (%d)", stops, content, id)
	}
	if len(c.tok.EOS()) == 0 {
		c.say(suspect, "eos", c.at.specials, "name an eos_token", "nothing says which token ends a text: answers go on to --max_new_tokens")
	}
}

// checkBOS compares what the files say of the beginning of a text.
func (c *checker) checkBOS() {
	if c.tok == nil {
		return
	}
	around := c.tok.Encode("", true)
	bos, ok := c.tok.BOS()
	adds := 0
	for _, id := range around {
		if ok && id == bos {
			adds++
		}
	}
	eos := c.tok.EOS()
	sameToken := ok && slices.Contains(eos, bos) // GPT-2's one token for both
	if adds > 1 && !sameToken {
		c.say(severe, "bos-twice", c.at.tokenizer, "let the post_processor add it once", "the tokenizer begins every text with BOS (%d) %d times", bos, adds)
	}
	for _, flag := range []struct {
		key   string
		added bool
	}{{"add_bos_token", adds > 0}, {"add_eos_token", len(around) > 0 && len(eos) > 0 && around[len(around)-1] == eos[0] && (!sameToken || len(around) > 1)}} {
		var said bool
		if c.tokConfig.get(flag.key, &said) && said != flag.added {
			c.say(suspect, "bos", "tokenizer_config.json", "tokenizer.json is used here; transformers' classes for Llama and Gemma go by this key",
				"%s is %t, and tokenizer.json %s", flag.key, said, map[bool]string{true: "adds one", false: "adds none"}[flag.added])
		}
	}
	if ids, _ := tokenIDs(c.config, "bos_token_id"); ok && len(ids) == 1 && ids[0] != int(bos) {
		c.say(suspect, "bos", c.at.config, "the tokenizer's is used", "bos_token_id is %d, and the tokenizer's bos_token is %d", ids[0], bos)
	}
}

// checkLengths compares the model's positions with the tokenizer's longest text.
func (c *checker) checkLengths() {
	var longest float64
	if c.l.Model == nil || !c.tokConfig.get("model_max_length", &longest) || longest > 1e15 { // transformers' word for no limit
		return
	}
	context := c.l.Dims().Context
	switch {
	case longest > float64(context):
		c.say(suspect, "lengths", "tokenizer_config.json", "the model's is used here", "model_max_length is %.0f, and the model was made for %d positions (max_position_embeddings)", longest, context)
	case longest < float64(context):
		c.say(remark, "lengths", "tokenizer_config.json", "the model's is used here", "model_max_length is %.0f; the model was made for %d positions", longest, context)
	}
}

// ranges are what transformers accepts in generation_config.json.
var ranges = []struct {
	key      string
	low      float64
	openLow  bool // low itself is out
	high     float64
	wanted   string
	sampling float64 // without do_sample any other value has no effect; NaN: it has
}{
	{"temperature", 0, false, math.Inf(1), "0 or more", 1},
	{"top_p", 0, false, 1, "0 to 1", 1},
	{"top_k", 0, false, math.Inf(1), "a whole number, 0 or more", 50},
	{"min_p", 0, false, 1, "0 to 1", 0},
	{"typical_p", 0, true, 1, "more than 0, and 1 at most", 1},
	{"repetition_penalty", 0, true, math.Inf(1), "more than 0", math.NaN()},
	{"num_beams", 1, false, math.Inf(1), "1 or more", math.NaN()},
	{"max_length", 1, false, math.Inf(1), "1 or more", math.NaN()},
	{"max_new_tokens", 1, false, math.Inf(1), "1 or more", math.NaN()},
}

// checkGeneration checks the values of generation_config.json.
func (c *checker) checkGeneration() {
	const where = "generation_config.json"
	sample := false
	_, said := c.generation["do_sample"]
	if said && !c.generation.get("do_sample", &sample) && string(c.generation["do_sample"]) != "null" {
		c.say(severe, "generation", where, "", "do_sample is %.40s; true or false wanted", c.generation["do_sample"])
	}
	var idle []string
	for _, r := range ranges {
		raw, ok := c.generation[r.key]
		if !ok || string(raw) == "null" {
			continue
		}
		var v float64
		if !c.generation.get(r.key, &v) || !(v >= r.low && v <= r.high) || r.openLow && v == r.low || r.key == "top_k" && v != math.Trunc(v) {
			c.say(severe, "generation", where, "transformers refuses it", "%s is %.40s; %s wanted", r.key, raw, r.wanted)
		} else if !sample && !math.IsNaN(r.sampling) && v != r.sampling {
			idle = append(idle, fmt.Sprintf("%s %v", r.key, v))
		}
		if r.key == "temperature" && v == 0 && sample {
			c.say(severe, "generation", where, "transformers refuses it; for the likeliest token set do_sample to false", "temperature is 0, and do_sample true")
		}
	}
	if len(idle) > 0 {
		how := "do_sample is false"
		if !said {
			how = "do_sample is absent, which is false"
		}
		c.say(suspect, "generation", where, "set do_sample to true, or remove them", "%s, so that %s would have no effect", how, strings.Join(idle, ", "))
	}
}
