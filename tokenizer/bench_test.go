package tokenizer

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The benchmarks run over the tokenizers in testdata and, if LITGPT_TOKENIZERS
// names a directory, over those of DIR/*/tokenizer.json.gz. Their names, times
// and texts are those of tools/reference/tokenizer_speed.py, which measures
// Hugging Face's tokenizers: LITGPT_BENCH_TEXTS=DIR writes the texts to DIR/NAME.txt.

// textSize is the length of each text in bytes.
const textSize = 1 << 20

// benchTexts are the texts measured, the same in every run.
var benchTexts = []struct {
	name string
	text func(testing.TB) string
}{
	{"prose", proseText},
	{"code", codeText},
	{"cjk", cjkText},
	{"mixed", mixedText},
	{"random-words", func(testing.TB) string { return wordsText(newRand(1), 2, 12, ' ') }},
	{"no-spaces", noSpacesText},
	{"digits", digitsText},
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// cut shortens s to textSize at a character.
func cut(s string) string {
	if len(s) <= textSize {
		return s
	}
	n := textSize
	for s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}

// proseText is English: the demo's plays.
func proseText(tb testing.TB) string {
	return cut(string(readGz(tb, "../demo/tinyshakespeare.txt")))
}

// codeText is Go and C: this repository's own.
func codeText(tb testing.TB) string {
	var paths []string
	for _, dir := range []string{"../internal", "../models", "../recipes"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if ext := filepath.Ext(path); ext == ".go" || ext == ".c" {
				paths = append(paths, path)
			}
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	slices.Sort(paths)
	var b strings.Builder
	for _, path := range paths {
		if b.Len() < textSize {
			b.Write(readGz(tb, path))
		}
	}
	return cut(b.String())
}

// zipfText draws words by Zipf's law, as languages have them, from a dictionary
// of n words of up to longest letters.
func zipfText(seed uint64, letters string, n, longest int, separators ...string) string {
	r, all := newRand(seed), []rune(letters)
	letter := rand.NewZipf(r, 1.1, 20, uint64(len(all)-1))
	words := make([]string, n)
	for i := range words {
		for range 1 + r.IntN(longest) {
			words[i] += string(all[letter.Uint64()])
		}
	}
	word := rand.NewZipf(r, 1.2, 10, uint64(n-1))
	var b strings.Builder
	for b.Len() < textSize {
		b.WriteString(words[word.Uint64()])
		b.WriteString(separators[r.IntN(len(separators))])
	}
	return cut(b.String())
}

// The letters of scripts without spaces, the most frequent first.
const (
	chinese  = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
	japanese = "のにはをたがでてとしれさあるいもかなこらそっうりまくめすだきどつちわせよけみえろばぶおびゃべやべじアイウエオカキクケコサシスセソタチツテトナニネノハヒフヘホマミムメモラリルレロンー日本人年大会社時中国行者上下分間生自事合前方学用新部見出力地"
)

func cjkText(testing.TB) string {
	zh := zipfText(2, chinese, 20000, 4, "", "", "", "", "，", "。", "、")
	ja := zipfText(3, japanese, 20000, 6, "", "", "", "", "、", "。", "\n")
	half := strings.LastIndexAny(zh[:textSize/2], "，。、")
	return cut(zh[:half] + ja)
}

// mixedText takes turns between scripts, a sentence or so of each.
func mixedText(tb testing.TB) string {
	texts := []string{
		proseText(tb), cjkText(tb), codeText(tb),
		zipfText(4, "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", 20000, 12, " ", " ", ", ", ". "),
		zipfText(5, "αοιετσνηυρπκμλωςγδχθφβξζψάέίόύήώ", 20000, 10, " ", " ", ", ", ".\n"),
		zipfText(6, "اليمونرتبةعدسفهكقحجشطصخذضغثزظءأإ", 20000, 8, " ", " ", "، ", ". "),
		zipfText(7, "करनतसमयहपलवदबगजचटभशधखडणथषघछझठफािीुूेैोौ्ं", 20000, 8, " ", " ", "। "),
		zipfText(8, "이다는을에의가한고지사기하로그인대리어도자시수나들정아", 20000, 5, " ", " ", ". "),
		zipfText(9, "นารกอเงมยลวดทสตะปบคหแจพชขใไโผถศฉซ่้็ิีุูัำ", 20000, 8, "", "", " "),
		zipfText(10, "😀😂❤️👍🎉🚀é ñ ü ß ø å 1 2 3 → ≤ ∑ — … “ ”", 2000, 3, " ", ""),
	}
	runes := make([][]rune, len(texts))
	for i, text := range texts {
		runes[i] = []rune(text[:textSize/4])
	}
	r := newRand(11)
	var b strings.Builder
	for b.Len() < textSize {
		text := runes[r.IntN(len(runes))]
		at := r.IntN(len(text) - 200)
		b.WriteString(strings.ToValidUTF8(string(text[at:at+40+r.IntN(160)]), ""))
		b.WriteByte("\n "[r.IntN(2)])
	}
	return cut(b.String())
}

// wordsText is random letters, so that no word comes twice and no cache helps.
func wordsText(r *rand.Rand, shortest, longest int, separator byte) string {
	b := make([]byte, 0, textSize+longest+1)
	for len(b) < textSize {
		for range shortest + r.IntN(longest-shortest+1) {
			b = append(b, byte('a'+r.IntN(26)))
		}
		b = append(b, separator)
	}
	return string(b[:textSize])
}

// noSpacesText is one word for every pre-tokenizer that looks for spaces only.
func noSpacesText(tb testing.TB) string {
	text := strings.Join(strings.Fields(proseText(tb)), "")
	for i := newRand(12); len(text) < textSize; {
		at := i.IntN(len(text) - 1000)
		text += text[at : at+1000]
	}
	return cut(text)
}

func digitsText(testing.TB) string {
	r := newRand(13)
	var b strings.Builder
	for b.Len() < textSize {
		fmt.Fprintf(&b, "%d%c", r.Uint64()>>(r.IntN(61)+3), " ,.\n-"[r.IntN(5)])
	}
	return cut(b.String())
}

// benchFiles returns the tokenizers to measure by name.
func benchFiles(b *testing.B) (names []string, path map[string]string) {
	b.Helper()
	path = map[string]string{}
	for _, name := range goldens {
		path[name] = "testdata/" + name + ".tokenizer.json.gz"
	}
	if dir := os.Getenv("LITGPT_TOKENIZERS"); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "*", "tokenizer.json.gz"))
		if err != nil || len(files) == 0 {
			b.Fatalf("%s: no */tokenizer.json.gz (%v)", dir, err)
		}
		for _, file := range files {
			path[filepath.Base(filepath.Dir(file))] = file
		}
	}
	for name := range path {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, path
}

// forEachText runs f for every tokenizer and text.
func forEachText(b *testing.B, f func(b *testing.B, raw []byte, text string)) {
	texts := make([]string, len(benchTexts))
	for i, t := range benchTexts {
		texts[i] = t.text(b)
		if dir := os.Getenv("LITGPT_BENCH_TEXTS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, t.name+".txt"), []byte(texts[i]), 0o666); err != nil {
				b.Fatal(err)
			}
		}
	}
	names, path := benchFiles(b)
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			raw := readGz(b, path[name])
			for i, t := range benchTexts {
				b.Run(t.name, func(b *testing.B) { f(b, raw, texts[i]) })
			}
		})
	}
}

func parse(b *testing.B, raw []byte) *Tokenizer {
	b.Helper()
	t, err := Parse(raw)
	if err != nil {
		b.Skip(err)
	}
	return t
}

// cpuTime is what all threads of the process have used, which says more than the
// clock on a machine that is busy with something else.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEncode: cold is the first text that a tokenizer sees, warm a later
// time that it sees the same.
func BenchmarkEncode(b *testing.B) {
	forEachText(b, func(b *testing.B, raw []byte, text string) {
		tk := parse(b, raw)
		ids := make([]int32, 0, len(text))
		b.Run("cold", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				fresh := parse(b, raw)
				runtime.GC()
				b.StartTimer()
				start := cpuTime()
				ids = fresh.AppendEncode(ids[:0], text, false)
				spent += cpuTime() - start
			}
			b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
		})
		b.Run("warm", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			ids = tk.AppendEncode(ids[:0], text, false)
			start := cpuTime()
			for b.Loop() {
				ids = tk.AppendEncode(ids[:0], text, false)
			}
			b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
		})
	})
}

// BenchmarkEncodeParallel: as many goroutines as processors with one tokenizer.
func BenchmarkEncodeParallel(b *testing.B) {
	forEachText(b, func(b *testing.B, raw []byte, text string) {
		tk := parse(b, raw)
		b.SetBytes(int64(len(text)))
		b.RunParallel(func(pb *testing.PB) {
			var ids []int32
			for pb.Next() {
				ids = tk.AppendEncode(ids[:0], text, false)
			}
		})
	})
}

func BenchmarkDecode(b *testing.B) {
	forEachText(b, func(b *testing.B, raw []byte, text string) {
		tk := parse(b, raw)
		ids := tk.Encode(text, false)
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			tk.Decode(ids, false)
		}
	})
}

// BenchmarkLoad also reports what a tokenizer keeps in memory.
func BenchmarkLoad(b *testing.B) {
	names, path := benchFiles(b)
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			raw := readGz(b, path[name])
			before := liveBytes()
			tk := parse(b, raw)
			live := float64(liveBytes()-before) / 1e6
			runtime.KeepAlive(tk)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			start := cpuTime()
			for b.Loop() {
				parse(b, raw)
			}
			b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(live, "live-MB")
		})
	}
}

func liveBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
