package tokenizer

// ggufPre is how a text is split before BPE.
type ggufPre struct {
	patterns     []string // one after the other, each on the parts of the one before
	ignoreMerges bool     // a part that is a token needs no merges
	addBOS       bool     // when the file does not say
	nfc          bool
}

// Expressions of tokenizer.json files that scanners has no code for.
const (
	patternQwen35     = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternDeepSeek3  = `[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` + "`" + `{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternBloom      = ` ?[^(\s|.,!?…。，、।۔،)]+`
	patternBailing    = `'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`
	patternSeedCoder  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternUfakzeka   = `[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternMiniCPM5   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternExaoneMoE  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`
	patternJais2      = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}`
	patternCJK        = `[一-龥぀-ゟ゠-ヿ]+`
	patternPunct      = `[\p{P}\$\+<=>\^~\|` + "`" + `]+`
	patternPunctOld   = `[\p{P}\$\+<=>\^~\|]+`
	patternThreeASCII = `[0-9][0-9][0-9]`

	// The letters of DeepSeek-LLM are the cased ones that its authors listed.
	patternDeepSeekLetters = `\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+`
)

// ggufPres are the values of tokenizer.ggml.pre, as llama.cpp's llama-vocab.cpp has
// them, with the expressions of the tokenizer.json files they stand for. llama.cpp
// itself differs from those, and so from us, in this: it has no NFC (qwen2); tekken
// and gpt-4o take letters without case, and marks, for both cases only where they
// are letters; 's with U+017F is no contraction; its Unicode tables are older.
var ggufPres = func() map[string]ggufPre {
	table := map[string]ggufPre{}
	add := func(p ggufPre, names ...string) {
		for _, name := range names {
			table[name] = p
		}
	}
	add(ggufPre{patterns: []string{patternPunctOld, patternGPT2, `\p{N}+`, patternThreeASCII}}, "", "default")
	add(ggufPre{patterns: []string{patternLlama3}, ignoreMerges: true, addBOS: true},
		"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano")
	add(ggufPre{patterns: []string{patternLlama3}}, "dbrx", "smaug-bpe", "chatglm-bpe")
	add(ggufPre{patterns: []string{patternLlama3}, ignoreMerges: true}, "glm4", "glm5")
	add(ggufPre{patterns: []string{patternGPT2}}, "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de",
		"a.x-4.0", "mellum", "modern-bert", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4")
	add(ggufPre{patterns: []string{`\p{N}`, patternGPT2}},
		"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2")
	add(ggufPre{patterns: []string{patternQwen}, nfc: true}, "qwen2", "deepseek-r1-qwen")
	add(ggufPre{patterns: []string{patternQwen}}, "stablelm2", "kormo", "f2llmv2", "megrez", "hunyuan", "solar-open", "grok-2")
	add(ggufPre{patterns: []string{patternQwen35}, nfc: true}, "qwen35")
	add(ggufPre{patterns: []string{patternPunct, patternGPT2, patternThreeASCII}}, "falcon")
	add(ggufPre{patterns: []string{patternTekken}, ignoreMerges: true, addBOS: true}, "tekken")
	add(ggufPre{patterns: []string{patternO200k}}, "gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2")
	add(ggufPre{patterns: []string{"[\r\n]", patternDeepSeekLetters, `\s?[!-/:-~！-／：-～‘-‟　-。]+`, `\s+$`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}+`}}, "deepseek-llm")
	add(ggufPre{patterns: []string{"[\r\n]", `\s?\p{L}+`, `\s?\p{P}+`, `[一-龥ࠀ-一가-퟿]+`, `\p{N}`}}, "deepseek-coder")
	add(ggufPre{patterns: []string{`\p{N}{1,3}`, patternCJK, patternDeepSeek3}}, "deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4")
	add(ggufPre{patterns: []string{patternBloom}}, "poro-chat", "bloom", "gpt3-finnish")
	add(ggufPre{patterns: []string{patternBloom, `\p{N}`}}, "viking")
	add(ggufPre{patterns: []string{patternBailing}}, "bailingmoe", "bailingmoe2", "llada-moe")
	add(ggufPre{patterns: []string{patternSeedCoder}}, "seed-coder")
	add(ggufPre{patterns: []string{patternUfakzeka}}, "ufakzeka")
	add(ggufPre{patterns: []string{`\p{N}{1,3}`, patternMiniCPM5}, ignoreMerges: true}, "minicpm5")
	add(ggufPre{patterns: []string{patternExaoneMoE}}, "exaone-moe")
	add(ggufPre{patterns: []string{patternJais2}}, "jais-2")
	add(ggufPre{patterns: []string{`\d{1,3}(?=(?:\d{3})*\b)`, patternO200k}}, "tiny_aya", "cohere2moe")
	add(ggufPre{patterns: []string{`\p{N}+`, `(?=(\d{3})+(?!\d))`}}, "superbpe")
	return table
}()
