package recipes

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/tokenizer"
)

// marker is what templates write between turns and mean as one token.
var marker = regexp.MustCompile(`<\|[^<>|\s]{1,60}\|>|<｜[^<>\s]{1,60}｜>|<(?:start|end)_of_[a-z]{1,30}>`)

// probeAnswer is a text that no template contains.
const probeAnswer = "Seventeen zebras."

// checkTemplate renders conversations and looks at what the tokenizer makes of them.
func (c *checker) checkTemplate() {
	if c.tok == nil || c.tok.ChatTemplate() == "" {
		return
	}
	where := c.at.template
	user := tokenizer.Message{Role: "user", Content: "How many?"}
	system := tokenizer.Message{Role: "system", Content: "Count."}
	answer := tokenizer.Message{Role: "assistant", Content: probeAnswer}
	conversations := []struct {
		name     string
		messages []tokenizer.Message
	}{{"user", []tokenizer.Message{user}}, {"user, assistant, user", []tokenizer.Message{user, answer, user}}, {"system, user", []tokenizer.Message{system, user}}}
	var texts []string
	for _, conv := range conversations {
		text, err := c.tok.RenderChat(conv.messages, true)
		refused := err != nil && strings.Contains(err.Error(), "TemplateError")
		switch {
		case err != nil && conv.messages[0].Role == "system" && refused:
			c.say(remark, "template", where, "chat without --sys_prompt", "it refuses a system message: %v", err)
		case err != nil:
			c.say(severe, "template", where, "correct the template; until then choose a style by --prompt_style", "a conversation of %s does not render: %v", conv.name, err)
			if conv.name == "user" {
				return // the others would say the same
			}
		default:
			texts = append(texts, text)
		}
	}
	c.checkTemplateBOS(where, texts[0])
	closed := c.checkGenerationPrompt(where, texts[0], []tokenizer.Message{user, answer})
	c.checkMarkers(where, texts, closed)
}

// checkTemplateBOS looks for a text that begins twice.
func (c *checker) checkTemplateBOS(where, text string) {
	bos, ok := c.tok.BOS()
	ids := c.tok.Encode(text, false)
	if !ok || len(ids) == 0 || ids[0] != bos {
		return
	}
	token, _ := c.tok.Token(bos)
	if len(ids) > 1 && ids[1] == bos {
		c.say(severe, "bos-twice", where, "write it once", "the template writes the token that begins a text, %q, twice", token)
	}
	if around := c.tok.Encode("", true); len(around) > 0 && around[0] == bos {
		c.say(remark, "bos-twice", where, "encode rendered text with add_special_tokens false, as this program and apply_chat_template do",
			"the template writes %q, which the tokenizer adds to every text as well", token)
	}
}

// checkGenerationPrompt compares what stands before an answer when it is asked for with
// what the template writes before one that is there. It gives what ends the answer; ""
// is not known.
func (c *checker) checkGenerationPrompt(where, asked string, conversation []tokenizer.Message) (end string) {
	plain, err := c.tok.RenderChat(conversation[:1], false)
	if err != nil {
		c.say(severe, "generation-prompt", where, "correct the template", "without add_generation_prompt it does not render: %v", err)
		return ""
	}
	whole, err := c.tok.RenderChat(conversation, false)
	if err != nil {
		c.say(severe, "generation-prompt", where, "correct the template", "a conversation that ends with an answer does not render: %v", err)
		return ""
	}
	before, end, ok := strings.Cut(whole, probeAnswer)
	if !ok {
		c.say(severe, "template", where, "correct the template", "the text of an assistant's message is not in what it renders")
		return ""
	}
	lacks := strings.TrimSpace(strings.TrimPrefix(before, plain))
	switch {
	case strings.HasPrefix(before, plain) && asked == plain && lacks != "":
		c.say(severe, "generation-prompt", where, fmt.Sprintf("write %q behind the messages when add_generation_prompt is true", lacks),
			"it lacks a generation prompt: before an answer the template writes %q, and add_generation_prompt writes nothing", lacks)
	case asked == plain:
		c.say(remark, "generation-prompt", where, "", "add_generation_prompt changes nothing: an answer follows the user's message at once")
	case !strings.HasPrefix(before, strings.TrimSpace(asked)) && !strings.HasPrefix(asked, strings.TrimSpace(before)):
		at := 0
		for at < min(len(before), len(asked)) && before[at] == asked[at] {
			at++
		}
		c.say(suspect, "generation-prompt", where, "make the two the same", "add_generation_prompt writes %.60q where the template writes %.60q before an answer",
			strings.ToValidUTF8(asked[at:], ""), strings.ToValidUTF8(before[at:], ""))
	}
	return strings.TrimLeft(end, " \n")
}

// checkMarkers finds markers that the tokenizer has no token for, and answers that
// nothing would end. end is what the template writes behind an answer.
func (c *checker) checkMarkers(where string, texts []string, end string) {
	last := ""
	if m := marker.FindStringIndex(end); m != nil && m[0] == 0 {
		last = end[:m[1]]
	}
	var seen []string
	for _, text := range append(texts, end) {
		for _, m := range marker.FindAllString(text, -1) {
			if slices.Contains(seen, m) {
				continue
			}
			seen = append(seen, m)
			n := len(c.tok.Encode(m, false))
			switch {
			case n == 1:
			case m == last:
				c.say(severe, "template-token", where, c.at.addToken+", if the model was trained with it",
					"answers end with %q, which is no token: it encodes into %d ids, and nothing would stop at it", m, n)
			default:
				c.say(suspect, "template-token", where, c.at.addToken+", if the model was trained with it as one",
					"it writes %q, which is no token: it encodes into %d ids", m, n)
			}
		}
	}
	ids := c.tok.Encode(end, false)
	if len(ids) == 0 {
		c.say(remark, "end-of-turn", where, "", "nothing ends the last answer of a conversation")
		return
	}
	token, _ := c.tok.Token(ids[0])
	if last != "" && token != last || slices.Contains(c.tok.EOS(), ids[0]) {
		return // said above, or all is well
	}
	if last == "" && !c.added[token].Special {
		c.say(remark, "end-of-turn", where, "", "answers end with the text %.20q, not with a token", end)
		return
	}
	c.say(suspect, "end-of-turn", where, fmt.Sprintf("put %d into %s, or answers go on with the next turn", ids[0], c.at.ends),
		"answers end with %q (id %d), which is none of the ids that end a text: %v", token, ids[0], c.tok.EOS())
}

// checkStyle compares the ways in which prompts can be written.
func (c *checker) checkStyle() {
	if c.tok == nil || c.l.base == "" {
		return
	}
	choice, err := c.l.ownStyle(c.tok)
	if err != nil {
		c.say(severe, "prompt-style", tokenizer.StyleFile, "correct the file, or remove it", "%v", err)
		return
	}
	if d := choice.differs; d != nil {
		severity, where := suspect, tokenizer.StyleFile
		if filepath.Base(choice.why) != where {
			severity, where = remark, c.at.template // LitGPT's rule is not what this checkpoint says of itself
		}
		c.say(severity, "prompt-style", where, fmt.Sprintf("%s is used; --prompt_style chooses another", choice.style.Name()),
			"%s would write prompts differently from %s: at byte %d %q, not %q", choice.other, choice.style.Name(), d.At, d.Other, d.Got)
	}
}
