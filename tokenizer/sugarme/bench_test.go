package sugarme

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	lib "github.com/sugarme/tokenizer"
	"github.com/sugarme/tokenizer/pretrained"
)

// benchText is the texts of phi-2's vectors, repeated up to size bytes.
func benchText(b *testing.B, size int) string {
	b.Helper()
	var list []vector
	if err := json.Unmarshal(read(b, data+"phi-2.vectors.json.gz"), &list); err != nil {
		b.Fatal(err)
	}
	var s strings.Builder
	for s.Len() < size {
		for _, v := range list {
			s.WriteString(v.Text)
			s.WriteByte('\n')
		}
	}
	return strings.ToValidUTF8(s.String()[:size], "")
}

// BenchmarkEncode: "ours" is the engine without this package, "adapter" the methods
// of Tokenizer, "library's Encode" those of the embedded one, "library" its own
// loader, model and all. The library takes hours for a megabyte in Mistral's
// vocabulary and is given 2 kB of it.
func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct {
		name    string
		library int // bytes for the library's own
	}{{"phi-2", 64 << 10}, {"mistral-7b-v0.1", 2 << 10}} {
		description := read(b, data+c.name+".tokenizer.json.gz")
		k := adapter(b, description)
		text := benchText(b, 256<<10)
		own := func(text string, encode func(string) (*lib.Encoding, error)) func(*testing.B) {
			return func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := encode(text); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		b.Run(c.name+"/ours", own(text, func(s string) (*lib.Encoding, error) { k.vocab.t.Encode(s, true); return nil, nil }))
		b.Run(c.name+"/ours with offsets", own(text, func(s string) (*lib.Encoding, error) { k.vocab.t.EncodeTokens(s, true); return nil, nil }))
		b.Run(c.name+"/adapter", own(text, func(s string) (*lib.Encoding, error) { return k.EncodeSingle(s, true) }))
		b.Run(c.name+"/library's Encode", own(text, func(s string) (*lib.Encoding, error) { return k.Tokenizer.EncodeSingle(s, true) }))
		b.Run(c.name+"/library", func(b *testing.B) {
			tk, err := pretrained.FromReader(bytes.NewReader(description))
			if err != nil {
				b.Skip(err)
			}
			own(text[:c.library], func(s string) (*lib.Encoding, error) { return tk.EncodeSingle(strings.ToValidUTF8(s, ""), true) })(b)
		})
	}
}

func BenchmarkNew(b *testing.B) {
	for _, name := range []string{"phi-2", "mistral-7b-v0.1"} {
		k := adapter(b, read(b, data+name+".tokenizer.json.gz"))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := New(k.vocab.t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
