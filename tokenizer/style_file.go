package tokenizer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// StyleFile is where a checkpoint keeps the style it was finetuned with.
const StyleFile = "prompt_style.yaml"

// litgptPrompts is the Python module of LitGPT's styles.
const litgptPrompts = "litgpt.prompts."

// styleYAML is prompt_style.yaml: LitGPT's class, or the name of a style of ours.
type styleYAML struct {
	ClassPath string `yaml:"class_path,omitempty"`
	Style     string `yaml:"style,omitempty"`
}

// YAML returns the content of a prompt_style.yaml, which LitGPT reads too unless
// the style is ours.
func (p PromptStyle) YAML() []byte {
	if class := p.style().class; class != "" {
		return []byte("class_path: " + litgptPrompts + class + "\n")
	}
	return []byte("style: " + p.Name() + "\n")
}

// LoadStyle reads the prompt_style.yaml of a checkpoint directory; ok is false
// when there is none. A class outside LitGPT is an error: we run no Python.
func LoadStyle(dir string) (p PromptStyle, ok bool, err error) {
	path := filepath.Join(dir, StyleFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	if p, err = parseStyle(b); err != nil {
		return PromptStyle{}, false, fmt.Errorf("%s: %w", path, err)
	}
	return p, true, nil
}

func parseStyle(b []byte) (PromptStyle, error) {
	var y styleYAML
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&y); err != nil && !errors.Is(err, io.EOF) {
		return PromptStyle{}, err
	}
	switch {
	case y.Style != "" && y.ClassPath != "":
		return PromptStyle{}, errors.New("style and class_path are both set; want one")
	case y.Style != "":
		return StyleByName(y.Style)
	case y.ClassPath != "":
		class, ok := strings.CutPrefix(y.ClassPath, litgptPrompts)
		if !ok {
			return PromptStyle{}, fmt.Errorf("class_path %q is not one of LitGPT's styles (%s…); write style: NAME, with one of %s",
				y.ClassPath, litgptPrompts, strings.Join(Styles(), ", "))
		}
		return StyleByName(class)
	}
	return PromptStyle{}, errors.New("no class_path and no style; want one, for example: style: chat_template")
}

// SaveStyle writes the prompt_style.yaml of a checkpoint directory, whole or not at
// all.
func SaveStyle(dir string, p PromptStyle) (err error) {
	f, err := os.CreateTemp(dir, StyleFile+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(p.YAML())
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, StyleFile))
}
