package tokenizer

import (
	"strings"
	"testing"
)

// benchText is about a megabyte of the vectors' texts: prose, code and scripts.
func benchText(b *testing.B) string {
	b.Helper()
	var s strings.Builder
	for s.Len() < 1<<20 {
		for _, v := range unmarshalFile[[]vector](b, "testdata/phi-2.vectors.json.gz") {
			s.WriteString(v.Text)
			s.WriteByte('\n')
		}
	}
	return s.String()
}

func BenchmarkEncode(b *testing.B) {
	text := benchText(b)
	for _, name := range goldens {
		tk := parseFile(b, "testdata/"+name+".tokenizer.json.gz")
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			var ids []int32
			for b.Loop() {
				ids = tk.AppendEncode(ids[:0], text, false)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	text := benchText(b)
	for _, name := range goldens {
		tk := parseFile(b, "testdata/"+name+".tokenizer.json.gz")
		ids := tk.Encode(text, false)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				tk.Decode(ids, false)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, name := range goldens {
		raw := readGz(b, "testdata/"+name+".tokenizer.json.gz")
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
