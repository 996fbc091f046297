package ggufmap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/litgpt-go/litgpt/internal/gguf"
)

// conf is a config.json, its values as they are written.
type conf map[string]json.RawMessage

// readOverlay is what of config.json the file carries along.
func readOverlay(f *gguf.File) (conf, error) {
	text, err := f.Text(configKey)
	if errors.Is(err, gguf.ErrNoKey) {
		return conf{}, nil
	}
	if err != nil {
		return nil, err
	}
	c := conf{}
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return nil, fmt.Errorf("%s: %w", configKey, err)
	}
	return c, nil
}

func (c conf) encode() []byte {
	b, _ := json.MarshalIndent(c, "", "  ") // of JSON that was read or made
	return append(b, '\n')
}

// has reports a key that is there and not null.
func (c conf) has(key string) bool {
	v, ok := c[key]
	return ok && string(v) != "null"
}

// set stores a value that JSON has.
func (c conf) set(key string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) == nil {
		c[key] = bytes.TrimSpace(b.Bytes())
	}
}

// number stores a number of GGUF, which has float32, in the fewest digits that give it: 1e-05.
func (c conf) number(key string, v float64) { c[key] = json.RawMessage(shortest(v)) }

func shortest(v float64) string {
	bits := 64
	if float64(float32(v)) == v {
		bits = 32
	}
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

// get reads a key; false when it is absent, null or of another kind.
func get[T any](c conf, key string) (v T, ok bool) {
	if !c.has(key) {
		return v, false
	}
	return v, json.Unmarshal(c[key], &v) == nil
}

func (c conf) int(key string) int {
	n, ok := get[int](c, key)
	if !ok {
		f, _ := get[float64](c, key) // 4096.0
		n = int(f)
	}
	return n
}

func (c conf) float(key string) float64 {
	v, _ := get[float64](c, key)
	return v
}

func (c conf) bool(key string) bool {
	v, _ := get[bool](c, key)
	return v
}

func (c conf) text(key string) string {
	v, _ := get[string](c, key)
	return v
}

func (c conf) architecture() (string, bool) {
	list, _ := get[[]string](c, "architectures")
	if len(list) == 0 {
		return "", false
	}
	return list[0], true
}

// same compares JSON by value: 1e-5 is 0.00001.
func same(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// merge gives c with the keys of over in place of its own.
func (c conf) merge(over conf) conf {
	out := conf{}
	for k, v := range c {
		out[k] = v
	}
	for k, v := range over {
		out[k] = v
	}
	return out
}

// normalize gives a config.json as transformers 4 wrote it: rope_parameters, which
// transformers 5 has, taken apart, and dtype under its old name.
func normalize(config []byte, fam *family) (conf, error) {
	c := conf{}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if v, ok := c["dtype"]; ok {
		if !c.has("torch_dtype") {
			c["torch_dtype"] = v
		}
		delete(c, "dtype")
	}
	rope, ok := get[conf](c, "rope_parameters")
	if !ok {
		return c, nil
	}
	delete(c, "rope_parameters")
	if local, ok := get[conf](rope, "sliding_attention"); ok { // Gemma 3
		if v, ok := local["rope_theta"]; ok {
			c["rope_local_base_freq"] = v
		}
		rope, _ = get[conf](rope, "full_attention")
	}
	for from, to := range map[string]string{"rope_theta": fam.theta(), "partial_rotary_factor": fam.partial} {
		if v, ok := rope[from]; ok && to != "" {
			c[to] = v
			delete(rope, from)
		}
	}
	delete(c, "rope_scaling")
	if kind := rope.text("rope_type"); kind != "" && kind != "default" {
		c.set("rope_scaling", rope)
	}
	return c, nil
}
