package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Prompt returns the ids that a model sees before its answer: Render, then Encode.
// Training and serving both come down to these two, so their prompts are the same.
func (p PromptStyle) Prompt(t *Tokenizer, prompt, input, system string) ([]int32, error) {
	text, err := p.Render(t, prompt, input, system)
	if err != nil {
		return nil, err
	}
	return p.Encode(t, text), nil
}

// Encode returns the ids of a text that the style rendered. It begins with BOS at most
// once, and an EOS that the tokenizer puts behind every text is left out: the answer
// follows.
func (p PromptStyle) Encode(t *Tokenizer, text string) []int32 {
	special := p.AddsSpecialTo(t, text)
	ids := t.Encode(text, special)
	if n := len(ids) - 1; special && n > 0 && len(t.eos) > 0 && ids[n] == t.eos[0] {
		ids = ids[:n]
	}
	return ids
}

// AddsSpecialTo tells how to encode a rendered text: AddsSpecial's answer, but false
// for a text that begins with BOS as it is, be it by the style (OLMo's) or the user.
func (p PromptStyle) AddsSpecialTo(t *Tokenizer, text string) bool {
	if !p.AddsSpecial() || !t.hasBOS {
		return p.AddsSpecial()
	}
	bos, ok := t.Token(t.bos)
	if !ok || bos == "" || !strings.HasPrefix(text, bos) {
		return true
	}
	around := t.Encode("", true)
	return len(around) == 0 || around[0] != t.bos
}

// Difference is where two styles part ways for one prompt.
type Difference struct {
	At         int    // bytes that are the same before it
	Got, Other string // what follows there, cut short
}

// probes are the prompts by which styles are compared.
var probes = []struct{ prompt, system string }{{"Hello, who are you?", ""}, {"Hello, who are you?", "Be brief."}}

// Compare tells where q writes a prompt differently from p; nil when both come to the
// same ids, with and without a system prompt.
func (p PromptStyle) Compare(t *Tokenizer, q PromptStyle) *Difference {
	for _, probe := range probes {
		a, errA := p.Prompt(t, probe.prompt, "", probe.system)
		b, errB := q.Prompt(t, probe.prompt, "", probe.system)
		switch {
		case errA != nil && errB != nil:
		case errA != nil || errB != nil:
			d := &Difference{Got: short(t.Decode(a, false)), Other: short(t.Decode(b, false))}
			if errA != nil {
				d.Got = errA.Error()
			} else {
				d.Other = errB.Error()
			}
			if probe.system == "" {
				return d
			}
			// Some templates refuse system prompts, which is no other way to write them.
		case !slices.Equal(a, b):
			return differenceOf(t.Decode(a, false), t.Decode(b, false), a, b)
		}
	}
	return nil
}

// differenceOf finds the first difference of two texts, or of their ids when the texts
// are the same.
func differenceOf(a, b string, idsA, idsB []int32) *Difference {
	at := 0
	for at < len(a) && at < len(b) && a[at] == b[at] {
		at++
	}
	if at == len(a) && at == len(b) {
		return &Difference{At: at, Got: fmt.Sprint(idsA), Other: fmt.Sprint(idsB)}
	}
	for at > 0 && (at < len(a) && !utf8.RuneStart(a[at]) || at < len(b) && !utf8.RuneStart(b[at])) {
		at--
	}
	if i := strings.LastIndexAny(a[:at], "<> \n"); i >= 0 && a[i] == '<' {
		at = i // a marker is shown whole
	}
	return &Difference{At: at, Got: short(a[at:]), Other: short(b[at:])}
}

// short is the beginning of a text.
func short(s string) string {
	const most = 40 // characters
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}
