package recipes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/litgpt-go/litgpt/internal/checkpoint"
	"github.com/litgpt-go/litgpt/internal/nn"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/lora"
	"github.com/litgpt-go/litgpt/models"
	"github.com/litgpt-go/litgpt/tokenizer"
)

// loaded is an opened checkpoint: a Hugging Face directory, a GGUF file, one of LitGPT's, or an adapter directory on one of those.
type loaded struct {
	models.Model
	dir    string // as given
	base   string // of the weights; dir unless that is an adapter's
	config []byte // config.json of the base
	src    weights
	lora   *lora.Config // nil without adapter
	quant  quantization // of the weights as they are loaded
	dtype  tensor.DType // of the first matrix in memory
}

// findDir is LitGPT's rule: a relative name that is not there is looked for under checkpoints/.
func findDir(dir string) string {
	if _, err := os.Stat(dir); err != nil && !filepath.IsAbs(dir) && !strings.HasPrefix(dir, "checkpoints") {
		if under := filepath.Join("checkpoints", dir); exists(under) {
			return under
		}
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// open declares the model of a checkpoint and opens its weights; load fills them.
func open(dir string) (*loaded, error) {
	dir = findDir(dir)
	l := &loaded{dir: dir, base: dir}
	if lora.IsAdapter(dir) {
		cfg, base, err := lora.ReadConfig(dir)
		if err != nil {
			return nil, err
		}
		l.lora = &cfg
		if l.quant, err = parseQuantization(base.Quantize); err != nil { // the base as it was trained on
			return nil, fmt.Errorf("%s: %w", filepath.Join(dir, lora.ConfigFile), err)
		}
		if l.base, err = findBase(dir, base); err != nil {
			return nil, err
		}
	}
	var err error
	if l.config, l.src, err = openWeights(l.base); err != nil {
		return nil, err
	}
	if l.Model, err = models.New(l.config); err != nil {
		l.src.Close()
		return nil, fmt.Errorf("%s: %w", l.base, err)
	}
	return l, nil
}

// findBase finds the checkpoint that the adapter in dir corrects, and checks that it is that one.
func findBase(dir string, base lora.Base) (string, error) {
	for _, path := range []string{base.Path, filepath.Join(dir, base.Path), findDir(base.Path)} {
		if base.Path == "" || !isCheckpoint(path) {
			continue
		}
		if base.Hash == "" {
			return path, nil
		}
		hash, err := fingerprint(path)
		if err != nil {
			return "", err
		}
		if hash != base.Hash {
			return "", fmt.Errorf("%s: the adapter was trained on other weights than those now in %s; set base_model_name_or_path in %s to the right checkpoint", dir, path, lora.ConfigFile)
		}
		return path, nil
	}
	return "", fmt.Errorf("%s: the adapter's base checkpoint %q is not there; set base_model_name_or_path in %s to its directory or GGUF file", dir, base.Path, lora.ConfigFile)
}

// fingerprint is a SHA-256 over config.json (GGUF files and LitGPT's have their own for that) and,
// of each file of weights, its size and 64 pieces of 16 KiB spread over it (the header is in
// the first): it tells checkpoints apart without reading them whole.
func fingerprint(dir string) (string, error) {
	h := sha256.New()
	config, src, err := openWeights(dir)
	if err != nil {
		return "", err
	}
	defer src.Close()
	if formOf(dir) == formHF { // what is made of metadata may be written otherwise by the next version
		h.Write(config)
	}
	for _, name := range src.Files() {
		if !filepath.IsAbs(name) && !exists(name) {
			name = filepath.Join(dir, name)
		}
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d\n", info.Size())
		const pieces, size = 64, 16 << 10
		for i := range int64(pieces) {
			at := (info.Size() - size) / (pieces - 1) * i
			if _, err := io.Copy(h, io.NewSectionReader(f, max(0, at), size)); err != nil {
				return "", fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// load fills the weights on dev, with the adapter if there is one.
func (l *loaded) load(dev *tensor.Device, matrix checkpoint.Type, own bool) error {
	if err := checkpoint.Load(dev, l.Model, l.src, checkpoint.Options{Matrix: matrix, Own: own, Quantize: l.quant.types(l.Model)}); err != nil {
		return fmt.Errorf("%s: %w", l.base, err)
	}
	dev.Dequantize(products(matrix))
	l.dtype = matrixType(l.Model)
	if l.lora != nil {
		if _, err := lora.Load(dev, l.Model, l.dir); err != nil {
			return err
		}
	}
	return nil
}

// products is the type in which products with quantized weights are computed, as LitGPT's
// bitsandbytes plugin does: that of the precision asked for, and BF16 for a checkpoint's own.
// On the CPU F32 keeps activations as they are, which are rounded to 8 bits otherwise.
func products(matrix checkpoint.Type) tensor.DType {
	switch matrix {
	case checkpoint.F32:
		return tensor.F32
	case checkpoint.F16:
		return tensor.F16
	}
	return tensor.BF16
}

// layout gives values as the checkpoint that the model came from stores them.
func (l *loaded) layout(values []checkpoint.Value) []checkpoint.Value {
	if l.src == nil {
		return checkpoint.Layout(l.Model, nil, values)
	}
	return checkpoint.Layout(l.Model, l.src, values)
}

// matrixType is the type of the first matrix in memory.
func matrixType(m models.Model) tensor.DType {
	for _, p := range nn.Params(m) {
		if len(p.Shape()) == 2 {
			return p.DType()
		}
	}
	return tensor.F32
}

// storedType is the type of most weights in the files.
func (l *loaded) storedType() safetensors.DType {
	count := map[safetensors.DType]int{}
	best := safetensors.DType("F32")
	for _, name := range l.src.Names() {
		t, _ := checkpoint.Header(l.src, name)
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		count[t.DType] += n
		if count[t.DType] > count[best] {
			best = t.DType
		}
	}
	return best
}

// trainPrecision is the precision to train in: the one asked for, else full
// precision for weights stored in it or quantized, and bf16-mixed for others.
func (l *loaded) trainPrecision(asked string) precision {
	if asked == "" {
		asked = "bf16-mixed"
		d, ok := tensor.DTypeByName(string(l.storedType()))
		if ok && (d == tensor.F32 || d.Quantized()) {
			asked = "32-true"
		}
	}
	return precisions[asked]
}

// close releases weights and files.
func (l *loaded) close() {
	l.free()
	l.src.Close()
}

// free releases the weights.
func (l *loaded) free() {
	for _, p := range nn.Params(l.Model) {
		p.Free()
	}
}

// tokenizerDir is the directory of the tokenizer: the adapter's if it has one, else the base's.
func (l *loaded) tokenizerDir() string {
	if exists(filepath.Join(l.dir, "tokenizer.json")) {
		return l.dir
	}
	return l.base
}

// tokenizer loads the tokenizer of the directory, or of the base.
func (l *loaded) tokenizer() (*tokenizer.Tokenizer, error) {
	dir := l.tokenizerDir()
	tok, err := loadTokenizer(dir)
	if err != nil {
		return nil, err
	}
	if v := l.Dims().Vocab; tok.VocabSize() > v {
		return nil, fmt.Errorf("%s: the tokenizer has %d ids, the model's embedding %d rows; they do not belong together", dir, tok.VocabSize(), v)
	}
	return tok, nil
}

// describe logs the one header line: what runs on what.
func (l *loaded) describe(log *slog.Logger, dev *tensor.Device, attrs ...any) {
	n := 0
	for _, p := range nn.Params(l.Model) {
		n += p.Numel()
	}
	if slow := tensor.SlowBuild(); slow != "" {
		log.Warn(slow)
	}
	where := []any{"checkpoint", l.dir, "weights", n, "type", matrixTypes(l.Model), "device", dev.Name}
	if !dev.Async() {
		where = append(where, "threads", dev.Threads)
	}
	if l.quant.name != "" {
		where = append(where, "quantize", l.quant.describe())
	}
	if dev.Note != "" {
		where = append(where, "no_gpu", dev.Note)
	}
	log.Info("model", append(where, attrs...)...)
}

// Device is where a command computes.
type Device struct {
	Device  string `yaml:"device" help:"cpu, cuda, cuda:N for GPU number N, or auto: a GPU if there is one"`
	Threads int    `yaml:"threads" help:"CPU threads; 0 for one per processor"`
	Float32 string `yaml:"float32_matmul_precision" help:"on a GPU, products of float32: highest is exact, high uses TensorFloat-32 as LitGPT does"`
}

func newDevice() Device { return Device{Device: "auto", Float32: "highest"} }

func (d Device) open() (*tensor.Device, error) {
	o, err := d.options()
	if err != nil {
		return nil, err
	}
	return tensor.Open(d.Device, o)
}

func (d Device) options() (o tensor.Options, err error) {
	if d.Threads < 0 {
		return o, usage([]string{fmt.Sprintf("--threads is %d; 0 for one per processor, or their number, wanted", d.Threads)})
	}
	if d.Float32 != "highest" && d.Float32 != "high" {
		return o, usage([]string{fmt.Sprintf("--float32_matmul_precision is %q; highest or high wanted", d.Float32)})
	}
	return tensor.Options{Threads: d.Threads, TF32: d.Float32 == "high"}, nil
}

// Spread is on how many devices a model is held for inference, each with some of its layers.
type Spread struct {
	Devices string `yaml:"devices" help:"GPUs that share the model's layers: their number, or auto for all there are"`
	Device  `yaml:",inline"`
}

func newSpread() Spread { return Spread{Devices: "1", Device: newDevice()} }

// open opens the devices for a model of so many layers.
func (s Spread) open(layers int) (*tensor.Device, error) {
	n, err := 0, error(nil)
	if s.Devices != "auto" {
		if n, err = strconv.Atoi(s.Devices); err != nil || n < 1 {
			return nil, usage([]string{fmt.Sprintf("--devices is %q; a number of GPUs, or auto, wanted", s.Devices)})
		}
	}
	o, err := s.options()
	if err != nil {
		return nil, err
	}
	return tensor.OpenSpread(s.Device.Device, n, layers, o)
}
