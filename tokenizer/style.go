package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// PromptStyle turns an instruction into the text that a model sees. Its zero value
// is the style default: the instruction as it is. styles.go has the table.
type PromptStyle struct{ s *style }

// style is a line of the table. In its texts {P} is the prompt, {S} the system
// prompt and {I} the input.
type style struct {
	name  string // what users choose it by
	class string // its name in LitGPT's prompt_style.yaml; "" for our own
	text  string
	// system is the system prompt when none is given. A style without {S} in text
	// has no place for one.
	system string
	// bare is the text without any system prompt, for the styles where more than
	// the prompt itself goes away; "" means text.
	bare string
	// withInput and inputSystem take the place of text and system when there is
	// an input. Styles without them put the input after the prompt.
	withInput, inputSystem string
	// stops are texts that end an answer besides EOS, as lists of tokens.
	stops [][]string
	// carriesBOS: the text begins with BOS already.
	carriesBOS bool
	// chatTemplate: the checkpoint's own template, not text.
	chatTemplate bool
}

// ChatTemplateStyle is the name of the style that renders the checkpoint's own
// chat template.
const ChatTemplateStyle = "chat_template"

func (p PromptStyle) style() *style {
	if p.s == nil {
		return &styles[0]
	}
	return p.s
}

// Styles returns the names that StyleByName takes, sorted.
func Styles() []string {
	names := make([]string, len(styles))
	for i := range styles {
		names[i] = styles[i].name
	}
	sort.Strings(names)
	return names
}

// StyleByName returns a style by its name ("alpaca") or LitGPT's class ("Alpaca").
func StyleByName(name string) (PromptStyle, error) {
	for i := range styles {
		if s := &styles[i]; name != "" && (s.name == name || s.class == name) {
			return PromptStyle{s}, nil
		}
	}
	return PromptStyle{}, fmt.Errorf("unknown prompt style %q; nearest: %s", name, strings.Join(nearest(name, Styles(), 3), ", "))
}

// StyleForModel returns the style LitGPT chooses for a model by its name, the first
// rule that matches; default if none does.
func StyleForModel(modelName string) PromptStyle {
	for _, rule := range styleRules {
		if rule.name.MatchString(modelName) {
			if p, err := StyleByName(rule.style); err == nil {
				return p
			}
		}
	}
	return PromptStyle{}
}

// styleRule gives the models whose name matches a style.
type styleRule struct {
	name  *regexp.Regexp
	style string
}

// Name returns the name StyleByName takes.
func (p PromptStyle) Name() string { return p.style().name }

// AddsSpecial tells how to encode the text: true for Encode with addSpecial, false
// when the text already carries BOS.
func (p PromptStyle) AddsSpecial() bool {
	return !p.style().carriesBOS && !p.style().chatTemplate
}

// Apply returns the text for a prompt; input and system may be "". The style
// chat_template gives the prompt and the input alone: it needs Render.
func (p PromptStyle) Apply(prompt, input, system string) string {
	s := p.style()
	text, defaultSystem := s.text, s.system
	switch {
	case input == "":
	case s.withInput != "":
		text, defaultSystem = s.withInput, s.inputSystem
	default:
		// LitGPT drops the input here, and trains on half a question.
		prompt += "\n\n" + input
	}
	if system == "" {
		if system = defaultSystem; system == "" && s.bare != "" {
			text = s.bare
		}
	}
	return strings.NewReplacer("{P}", prompt, "{I}", input, "{S}", system).Replace(text)
}

// Render is Apply for all styles: chat_template fills the chat template of t with
// a user message (and a system message, if system is given) and ends where the
// answer begins. The other styles need no t.
func (p PromptStyle) Render(t *Tokenizer, prompt, input, system string) (string, error) {
	if !p.style().chatTemplate {
		return p.Apply(prompt, input, system), nil
	}
	if t == nil {
		return "", errors.New("the prompt style chat_template needs a tokenizer")
	}
	var messages []Message
	if system != "" {
		messages = append(messages, Message{Role: "system", Content: system})
	}
	messages = append(messages, Message{Role: "user", Content: p.Apply(prompt, input, "")})
	return t.RenderChat(messages, true)
}

// StopTokens returns the sequences of ids that end an answer: each EOS, then those
// of the style whose tokens the vocabulary has.
func (p PromptStyle) StopTokens(t *Tokenizer) [][]int32 {
	var stops [][]int32
	add := func(ids []int32) {
		if !slices.ContainsFunc(stops, func(s []int32) bool { return slices.Equal(s, ids) }) {
			stops = append(stops, ids)
		}
	}
	for _, id := range t.EOS() {
		add([]int32{id})
	}
	for _, tokens := range p.style().stops {
		ids := make([]int32, 0, len(tokens))
		for _, token := range tokens {
			if id, ok := t.ID(token); ok {
				ids = append(ids, id)
			}
		}
		if len(ids) == len(tokens) {
			add(ids)
		}
	}
	return stops
}

// nearest returns the n names with the fewest edits from name.
func nearest(name string, names []string, n int) []string {
	names = slices.Clone(names)
	name = strings.ToLower(name)
	if len(name) > 64 {
		name = name[:64]
	}
	sort.SliceStable(names, func(i, j int) bool { return edits(name, names[i]) < edits(name, names[j]) })
	return names[:min(n, len(names))]
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
