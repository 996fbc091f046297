package litgpt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/litgpt-go/litgpt/internal/pth"
	"github.com/litgpt-go/litgpt/internal/safetensors"
	"github.com/litgpt-go/litgpt/internal/tensor"
	"github.com/litgpt-go/litgpt/models"
)

// The files of a checkpoint directory of LitGPT's.
const (
	WeightsFile = "lit_model.pth"
	ConfigFile  = "model_config.yaml"
)

// Open opens a checkpoint directory of LitGPT's as one of Hugging Face: its config.json, and its
// weights until they are closed. Of a config.json beside LitGPT's files, which LitGPT takes
// along from where the model came, only what its own do not say is used: the special
// tokens' ids.
func Open(dir string) (config []byte, hf *View, err error) {
	text, err := readSmall(filepath.Join(dir, ConfigFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s: no %s; a checkpoint directory of LitGPT's is wanted", dir, ConfigFile)
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := pth.Open(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, nil, err
	}
	if config, hf, err = FromLit(text, f); err == nil {
		config, err = withIDs(config, filepath.Join(dir, "config.json"))
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	hf.closer = f
	return config, hf, nil
}

// readSmall reads a file of text.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("%s: more than %d bytes", path, maxConfig)
	}
	return text, err
}

// withIDs puts the ids of special tokens of the config.json at path into config, if there is
// one of the same architecture.
func withIDs(config []byte, path string) ([]byte, error) {
	text, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return config, nil
	}
	if err != nil {
		return nil, err
	}
	if part, err := models.SavedConfig(text); err == nil {
		text = part
	}
	a, err := models.Architecture(config)
	if err != nil {
		return nil, err
	}
	if b, err := models.Architecture(text); err != nil || a != b {
		return config, nil
	}
	var to, from map[string]json.RawMessage
	if err := firstError(json.Unmarshal(config, &to), json.Unmarshal(text, &from)); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	for _, key := range []string{"bos_token_id", "eos_token_id", "pad_token_id"} {
		if v, ok := from[key]; ok {
			to[key] = v
		}
	}
	out, err := json.MarshalIndent(to, "", "  ")
	return append(out, '\n'), err
}

// Write writes the tensors of a view as torch.save would: a dictionary, tensors that share
// their values once. dtype is the type of the weights in the file, F32, F16 or BF16; "" keeps
// their own, which quantized weights cannot. A piece of one tensor is in memory at a time,
// unless the view's source makes them.
func Write(w io.Writer, v *View, dtype safetensors.DType) error {
	if !slices.Contains([]safetensors.DType{"", safetensors.F32, safetensors.F16, safetensors.BF16}, dtype) {
		return fmt.Errorf("weights of type %s: F32, F16 or BF16 wanted", dtype)
	}
	out := pth.NewWriter(w, "lit_model")
	for _, name := range v.names {
		if of := v.targets[name].same; of != "" {
			if err := out.Share(name, of); err != nil {
				return err
			}
			continue
		}
		t, parts, ok := v.parts(name)
		if !ok {
			return fmt.Errorf("%s: cannot be read any more", name)
		}
		if dtype == "" || dtype == t.DType {
			if err := out.Write(t, parts); err != nil {
				return err
			}
			continue
		}
		from, known := tensor.DTypeByName(string(t.DType))
		to, _ := tensor.DTypeByName(string(dtype))
		if !known || from == tensor.I32 {
			return fmt.Errorf("%s: weights of type %s cannot be converted to %s", name, t.DType, dtype)
		}
		t.DType = dtype
		if err := out.WriteFunc(t, func(w io.Writer) error { return convert(w, parts, from, to) }); err != nil {
			return err
		}
	}
	return out.Close("")
}

// convert writes the values of parts in another type, a piece at a time.
func convert(w io.Writer, parts []safetensors.Tensor, from, to tensor.DType) error {
	const most = 1 << 18 // elements: whole blocks of every type
	raw, floats := make([]byte, from.Bytes(most)), make([]float32, most)
	for _, p := range parts {
		for data := p.Data; len(data) > 0; {
			n := min(len(data), len(raw))
			piece := p
			piece.Data = data[:n]
			if err := piece.CopyTo(raw[:n]); err != nil {
				return err
			}
			values := floats[:n/from.Bytes(from.Block())*from.Block()]
			tensor.ToFloats(from, raw[:n], values)
			if _, err := w.Write(tensor.FromFloats(to, values)); err != nil {
				return err
			}
			data = data[n:]
		}
	}
	return nil
}

// encode writes a model_config.yaml with its keys sorted, as LitGPT does.
func (c *Config) encode() ([]byte, error) {
	var n yaml.Node
	if err := n.Encode(c); err != nil {
		return nil, fmt.Errorf("model_config.yaml: %w", err)
	}
	var buf bytes.Buffer
	e := yaml.NewEncoder(&buf)
	e.SetIndent(2)
	if err := firstError(e.Encode(&n), e.Close()); err != nil {
		return nil, fmt.Errorf("model_config.yaml: %w", err)
	}
	return buf.Bytes(), nil
}
