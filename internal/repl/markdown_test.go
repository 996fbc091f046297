package repl

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

var styles = regexp.MustCompile("\x1b\\[[0-9]*m")

func TestMarkdown(t *testing.T) {
	const off, bold, code = styleOff, styleBold, styleCode
	for _, c := range []struct{ text, want string }{
		{"plain * text, 2*3*4 and #no", "plain * text, 2*3*4 and #no"},
		{"a **bold** b", "a **" + off + bold + "bold**" + off + " b"},
		{"**never\nended", "**" + off + bold + "never" + off + "\nended"},
		{"# A `b`\nc", "#" + off + bold + " A " + off + bold + code + "`b`" + off + bold + off + "\nc"},
		{"####### seven", "####### seven"},
		{"use `go **vet**` now", "use " + off + code + "`go **vet**`" + off + " now"},
		{"`x` first", "`" + off + code + "x`" + off + " first"},
		{"``` inline ``` text", "```" + off + code + " inline `" + off + off + code + "``" + off + " text"},
		{"```go\nx := **p # `y`\n```\n**b**", "```" + off + code + "go\nx := **p # `y`\n```" + off + "\n**" + off + bold + "b**" + off},
		{"  ```\n``` not yet\n ```  \nz", "  ```" + off + code + "\n``` not yet\n ```  " + off + "\nz"},
		{"```\nnever ended", "```" + off + code + "\nnever ended" + off},
	} {
		for _, size := range []int{1, 2, 1000} {
			var m markdown
			var out strings.Builder
			for runes := []rune(c.text); len(runes) > 0; {
				n := min(size, len(runes))
				out.WriteString(m.write(string(runes[:n])))
				runes = runes[n:]
			}
			out.WriteString(m.end())
			if out.String() != c.want {
				t.Errorf("%q in pieces of %d: got %q, want %q", c.text, size, &out, c.want)
			}
		}
	}
}

// Styles are only added, do not depend on the pieces, and are off at the end.
func TestMarkdownOnlyAdds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	parts := []string{"*", "**", "`", "```", "#", " ", "\n", "a", "猫", "##", "  "}
	for range 3000 {
		text := ""
		for range r.IntN(30) {
			text += parts[r.IntN(len(parts))]
		}
		var whole, pieces markdown
		got := whole.write(text) + whole.end()
		split := ""
		for _, c := range text {
			split += pieces.write(string(c))
		}
		split += pieces.end()
		if got != split {
			t.Fatalf("%q: got %q at once, %q in pieces", text, got, split)
		}
		if plain := styles.ReplaceAllString(got, ""); plain != text {
			t.Fatalf("%q became %q", text, plain)
		}
		if all := styles.FindAllString(got, -1); len(all) > 0 && all[len(all)-1] != styleOff {
			t.Fatalf("%q: styles are on at the end: %q", text, got)
		}
	}
}

func TestWhole(t *testing.T) {
	for _, c := range []struct{ text, complete, partial string }{
		{"", "", ""}, {"a", "a", ""}, {"é", "é", ""}, {"a\xc3", "a", "\xc3"}, {"\xf0\x9f\xa6", "", "\xf0\x9f\xa6"}, {"x\xf0\x9f\xa6\x99", "x\xf0\x9f\xa6\x99", ""},
		{"\xff", "\xff", ""}, {"\x80\x80\x80\x80\x80", "\x80\x80\x80\x80\x80", ""},
	} {
		if complete, partial := whole(c.text); complete != c.complete || partial != c.partial {
			t.Errorf("%q: got %q and %q", c.text, complete, partial)
		}
	}
}
