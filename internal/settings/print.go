package settings

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Print writes the settings of cfg, a pointer to a struct, as YAML that Load
// reads back to the same values. Above each key stands its help:
//
//	# stop after this many optimizer steps (type: int)
//	max_steps: 100
//
// --print_config of Command adds the defaults: (type: int, default: 0).
func Print(w io.Writer, cfg any) error {
	return write(w, schema(cfg), func(f *field) string {
		return fmt.Sprintf("(type: %s)", f.typeName())
	})
}

// Marshal returns the settings of cfg as YAML without comments.
func Marshal(cfg any) ([]byte, error) {
	var b bytes.Buffer
	err := write(&b, schema(cfg), nil)
	return b.Bytes(), err
}

// write writes fields as YAML; note ends the comment of a field, nil for no
// comments at all.
func write(w io.Writer, fields []*field, note func(*field) string) error {
	if len(fields) == 0 {
		_, err := io.WriteString(w, "{}\n")
		return err
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(mappingNode(fields, note)); err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	return enc.Close()
}

func mappingNode(fields []*field, note func(*field) string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields {
		key := &yaml.Node{Kind: yaml.ScalarNode, Value: f.key}
		if note != nil {
			text := f.help
			if !f.group {
				text = strings.TrimSpace(text + " " + note(f))
			}
			key.HeadComment = strings.Join(strings.Fields(text), " ")
		}
		n.Content = append(n.Content, key, f.node(note))
	}
	if len(n.Content) == 0 {
		n.Style = yaml.FlowStyle // {}
	}
	return n
}

// node returns the YAML of a field's value.
func (f *field) node(note func(*field) string) *yaml.Node {
	switch {
	case f.group:
		return mappingNode(f.kids, note)
	case f.choice && f.value.String() != "":
		n := &yaml.Node{Kind: yaml.MappingNode}
		n.Content = append(n.Content, scalarNode(reflect.ValueOf("class_path")), scalarNode(f.value))
		if kids := f.kidsOf(f.value.String()); len(kids) > 0 {
			n.Content = append(n.Content, scalarNode(reflect.ValueOf("init_args")), mappingNode(kids, note))
		}
		return n
	case isList(f.value.Type()):
		n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for i := range f.value.Len() {
			n.Content = append(n.Content, scalarNode(f.value.Index(i)))
		}
		return n
	case f.value.Kind() == reflect.String && f.value.String() == "":
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"} // absent, as in LitGPT's recipes
	}
	return scalarNode(f.value)
}

func scalarNode(v reflect.Value) *yaml.Node {
	if v.Kind() != reflect.String {
		return &yaml.Node{Kind: yaml.ScalarNode, Value: kinds[v.Kind()].text(v)}
	}
	n := &yaml.Node{}
	n.SetString(v.String()) // !!binary where it is not UTF-8
	if n.Tag == "!!str" && (strings.ContainsAny(v.String(), "\n\r\t\u0085\u2028\u2029") || strings.TrimSpace(v.String()) != v.String()) {
		n.Style = yaml.DoubleQuotedStyle // block texts lose white space at their ends
	} else {
		n.Style = 0
	}
	return n
}

// typeName names the type in comments.
func (f *field) typeName() string {
	if f.choice {
		return "one of " + strings.Join(f.classNames(), ", ")
	}
	return typeName(f.value.Type())
}

// valueText is the value as comments show it.
func (f *field) valueText() string {
	switch text := defaultText(f.value); {
	case isList(f.value.Type()):
		return "[" + strings.ReplaceAll(text, ",", ", ") + "]"
	case text == "":
		return "null"
	default:
		return text
	}
}
