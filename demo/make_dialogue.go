//go:build ignore

// Make_dialogue writes dialogue.json, instruction samples made from
// tinyshakespeare.txt. Run it in the root of the repository:
//
//	go run demo/make_dialogue.go
//
// A sample is a speech and the speech of another speaker that follows it; the
// rule is in [samples]. There is no chance in it: the same text gives the same
// file.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// Sizes are in characters.
const (
	minSpeech, maxSpeech = 20, 200
	minAnswer, maxAnswer = 20, 250
	want                 = 1000 // samples
)

type sample struct {
	Instruction string `json:"instruction"`
	Output      string `json:"output"`
}

// speech is what one speaker says until the next one speaks.
type speech struct{ speaker, text string }

func main() {
	if err := run("demo/tinyshakespeare.txt", "demo/dialogue.json"); err != nil {
		fmt.Fprintln(os.Stderr, "make_dialogue:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	list := samples(speeches(string(text)))
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(list); err != nil {
		return err
	}
	if err := os.WriteFile(to, out.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d samples\n", to, len(list))
	return nil
}

// speeches reads the play: paragraphs of which the first line is a name and a
// colon. A paragraph without a name goes on with the speech before it, and so
// does one with the same name.
func speeches(text string) (list []speech) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		paragraph = strings.TrimSpace(paragraph)
		name, said, _ := strings.Cut(paragraph, "\n")
		speaker, isName := strings.CutSuffix(name, ":")
		last := len(list) - 1
		switch {
		case paragraph == "":
		case !isName && last >= 0:
			list[last].text += "\n" + paragraph
		case isName && last >= 0 && list[last].speaker == speaker:
			list[last].text += "\n" + said
		case isName:
			list = append(list, speech{speaker, said})
		}
	}
	return list
}

// samples pairs speeches with the next ones, both of moderate size, no speech
// twice and no pair twice, and takes as many as are wanted evenly from the whole
// text, in its order.
func samples(list []speech) []sample {
	var all []sample
	seen := make(map[sample]bool)
	for i := 0; i+1 < len(list); i++ {
		s := sample{list[i].text, list[i+1].text}
		a, b := utf8.RuneCountInString(s.Instruction), utf8.RuneCountInString(s.Output)
		if a < minSpeech || a > maxSpeech || b < minAnswer || b > maxAnswer || seen[s] {
			continue
		}
		seen[s] = true
		all = append(all, s)
		i++ // the answer is not asked again
	}
	picked := make([]sample, min(want, len(all)))
	for i := range picked {
		picked[i] = all[i*len(all)/len(picked)]
	}
	return picked
}
