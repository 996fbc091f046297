package recipes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/gguf"
	"github.com/litgpt-go/litgpt/internal/ggufmap"
	"github.com/litgpt-go/litgpt/internal/litgpt"
	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// Check finds what does not fit together in a checkpoint: "litgpt check".
type Check struct {
	CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"model or adapter: a directory, or FILE.gguf"`
	JSON          bool   `yaml:"json" help:"print one JSON object instead of text"`
}

// How bad a finding is.
const (
	severe  = "error"   // something gives wrong results, here or in another program that reads the checkpoint
	suspect = "warning" // two places disagree; what is used is said
	remark  = "info"
)

// finding is something that does not fit.
type finding struct {
	Severity string `json:"severity"`
	Check    string `json:"check"` // a short name of what was looked at
	Where    string `json:"where"` // the file
	Problem  string `json:"problem"`
	Advice   string `json:"advice"`
}

// object is a JSON object of which each check reads what it needs.
type object map[string]json.RawMessage

// get reads a key into v; false when it is absent, null or something else.
func (o object) get(key string, v any) bool {
	raw, ok := o[key]
	return ok && string(raw) != "null" && json.Unmarshal(raw, v) == nil
}

// checker goes through a checkpoint. A part that cannot be read is nil, said once, and
// the checks that need it are passed over.
type checker struct {
	l          *loaded // dir and base; model and weights as far as they can be read
	config     object  // config.json of the base
	generation object  // generation_config.json
	tokConfig  object  // tokenizer_config.json
	tokMap     object  // special_tokens_map.json
	tok        *tokenizer.Tokenizer
	added      map[string]rawAdded // of tokenizer.json, by content
	rows       int                 // of the embedding; 0 not known
	at         places              // what findings call the parts
	gguf       *gguf.File          // the base, where it is one
	adapter    string              // an adapter that is a GGUF file

	findings []finding
}

func (c *checker) say(severity, check, where, advice, problem string, a ...any) {
	c.findings = append(c.findings, finding{severity, check, where, fmt.Sprintf(problem, a...), advice})
}

// Run prints what was found. It is an error when something would give wrong results.
func (c Check) Run(ctx context.Context, stdout io.Writer) error {
	k, err := newChecker(c.CheckpointDir)
	if err != nil {
		return err
	}
	defer k.close()
	for _, check := range checks {
		if err := ctx.Err(); err != nil {
			return err
		}
		check(k)
	}
	if c.JSON {
		err = k.writeJSON(stdout)
	} else {
		err = k.write(stdout)
	}
	if n := k.count(severe); n > 0 && err == nil {
		err = fmt.Errorf("%s: %s", k.l.dir, plural(n, "error"))
	}
	return err
}

// checks are all there are, in the order of their report.
var checks = []func(*checker){
	(*checker).checkConfig, (*checker).checkWeights, (*checker).checkAdapter, (*checker).checkTokenizer, (*checker).checkGGUF, (*checker).checkAddedTokens, (*checker).checkOtherVocabulary,
	(*checker).checkSpecialTokens, (*checker).checkTokenIDs, (*checker).checkEOS, (*checker).checkBOS, (*checker).checkLengths, (*checker).checkGeneration,
	(*checker).checkTemplate, (*checker).checkStyle,
}

// newChecker reads the files.
func newChecker(dir string) (*checker, error) {
	dir = findDir(dir)
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("checkpoint directory: %w", err)
	} else if !info.IsDir() && !ggufmap.Is(dir) {
		return nil, fmt.Errorf("%s: is a file, and no GGUF file; want that, or a checkpoint directory", dir)
	}
	c := &checker{l: &loaded{dir: dir, base: dir}}
	if adapterFile(dir) {
		c.openAdapterFile(dir)
	} else if lora.IsAdapter(dir) {
		cfg, base, err := lora.ReadConfig(dir)
		if err == nil {
			c.l.lora = &cfg
			var at string
			if at, err = findBase(dir, base); err == nil {
				c.l.base = at
			}
		}
		if err != nil {
			c.say(severe, "adapter", lora.ConfigFile, "the adapter cannot be used before this is right", "%v", err)
			c.l.base = "" // nothing of the model is known
		}
	}
	if c.l.base != "" {
		c.readConfig()
	}
	if c.l.base != "" && c.gguf == nil {
		c.generation = c.read(c.l.base, "generation_config.json")
	}
	c.findPlaces()
	if at := c.l.tokenizerDir(); at != "" && ggufFile(at) == "" {
		c.tokConfig = c.read(at, "tokenizer_config.json")
		c.tokMap = c.read(at, "special_tokens_map.json")
	}
	return c, nil
}

// readConfig reads what describes the model.
func (c *checker) readConfig() {
	if file := ggufFile(c.l.base); file != "" {
		c.readGGUF(file)
		return
	}
	if formOf(c.l.base) != formLit {
		c.config = c.read(c.l.base, "config.json")
		if raw, err := checkpoint.ReadConfig(c.l.base); err == nil {
			c.l.config = raw
		}
		return
	}
	raw, err := readConfig(c.l.base) // LitGPT's own counts, not the config.json that it takes along
	if err == nil {
		err = json.Unmarshal(raw, &c.config)
	}
	if err != nil {
		c.sayLines(severe, "config", litgpt.ConfigFile, "the weights and their configuration are not of one model, or damaged", err)
		c.l.base = ""
		return
	}
	c.l.config = raw
}

// read reads a file of JSON; nil when it is not there, or none.
func (c *checker) read(dir, name string) (o object) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, &o)
	}
	if err != nil {
		c.say(severe, "files", name, "download the file again", "it cannot be read: %v", err)
		return nil
	}
	return o
}

func (c *checker) close() {
	if c.l.Model != nil {
		c.l.free()
	}
	if c.l.src != nil {
		c.l.src.Close()
	}
	if c.gguf != nil {
		c.gguf.Close()
	}
}

// checkConfig declares the model.
func (c *checker) checkConfig() {
	if c.l.base == "" {
		return
	}
	if c.config == nil {
		if c.gguf == nil && !exists(filepath.Join(c.l.base, "config.json")) {
			c.say(severe, "config", "config.json", "is this the right directory?", "there is none, so that nothing is known of the model")
		}
		return
	}
	m, err := models.New(c.l.config)
	if err != nil {
		c.say(severe, "config", c.at.config, "this program cannot compute this model as it was trained; the other files were checked nevertheless",
			"%s", strings.TrimPrefix(err.Error(), "config.json: "))
		c.config.get("vocab_size", &c.rows)
		var text object
		if c.rows == 0 && c.config.get("text_config", &text) {
			text.get("vocab_size", &c.rows)
		}
		return
	}
	c.l.Model, c.rows = m, m.Dims().Vocab
}

// count is how many findings are so bad.
func (c *checker) count(severity string) (n int) {
	for _, f := range c.findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// examined says what was looked at.
func (c *checker) examined() string {
	parts := []string{"no weights", "no tokenizer", "no chat template"}
	if c.l.src != nil {
		parts[0] = plural(len(c.l.src.Names()), "weight")
	}
	if c.tok != nil {
		parts[1] = fmt.Sprintf("a tokenizer of %d ids", c.tok.VocabSize())
		if c.tok.ChatTemplate() != "" {
			parts[2] = "a chat template"
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// write prints a line per finding, and how many there are.
func (c *checker) write(w io.Writer) error {
	var b strings.Builder
	for _, severity := range []string{severe, suspect, remark} {
		for _, f := range c.findings {
			if f.Severity == severity {
				fmt.Fprintf(&b, "%-8s%s: %s", f.Severity, f.Where, oneLine(f.Problem))
				if f.Advice != "" {
					fmt.Fprintf(&b, " → %s", oneLine(f.Advice))
				}
				fmt.Fprintf(&b, " [%s]\n", f.Check)
			}
		}
	}
	fmt.Fprintf(&b, "%s: %s, %s (%s)\n", c.l.dir, plural(c.count(severe), "error"), plural(c.count(suspect), "warning"), c.examined())
	_, err := io.WriteString(w, b.String())
	return err
}

// oneLine keeps what a file says from looking like lines of ours.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return ' '
		}
		return r
	}, s)
}

// writeJSON prints one object.
func (c *checker) writeJSON(w io.Writer) error {
	if c.findings == nil {
		c.findings = []finding{} // [] in JSON, not null
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Checkpoint string    `json:"checkpoint"`
		Base       string    `json:"base,omitempty"` // of an adapter
		Examined   string    `json:"examined"`
		Errors     int       `json:"errors"`
		Warnings   int       `json:"warnings"`
		Findings   []finding `json:"findings"`
	}{c.l.dir, map[bool]string{true: c.l.base}[c.l.base != c.l.dir], c.examined(), c.count(severe), c.count(suspect), c.findings})
}

// openWeights opens the files of weights; their contents stay unread.
func (c *checker) openWeights() bool {
	var src weights
	var err error
	switch {
	case c.gguf != nil:
		return false // readGGUF has said why
	case formOf(c.l.base) == formLit:
		_, src, err = openWeights(c.l.base)
	case onlyTorch(c.l.base):
		src, err = pth.OpenDir(c.l.base)
	default:
		src, err = safetensors.OpenDir(c.l.base)
	}
	if err != nil {
		c.sayLines(severe, "weights", c.at.weights, "download the weights again", err)
		return false
	}
	c.l.src = src
	return true
}

// sayLines reports an error of several lines, a finding for each line behind the first.
func (c *checker) sayLines(severity, check, where, advice string, err error) {
	const most = 20 // a model of another size has all weights wrong
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	if len(lines) > 1 {
		lines = lines[1:]
	}
	for i, line := range lines {
		if i == most {
			c.say(severity, check, where, advice, "and %d more like these", len(lines)-most)
			return
		}
		c.say(severity, check, where, advice, "%s", strings.TrimSpace(line))
	}
}
