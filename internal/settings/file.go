package settings

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a settings file, in bytes; the largest recipe has 6 kB. A
// larger file is a checkpoint or a data set given to --config by mistake.
const maxFile = 1 << 20

// source is a YAML text, for messages that show the place.
type source struct {
	name  string // of the file, or of the flag that held the text
	lines []string
}

// fileNode is a YAML value and where it came from.
type fileNode struct {
	*yaml.Node
	src *source
}

// file applies the YAML file.
func (l *loader) file(name string) {
	data, err := readFile(name)
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	l.yaml(name, data)
}

// yaml applies the text of a YAML file.
func (l *loader) yaml(name string, data []byte) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	src := &source{name: name, lines: splitLines(string(data))}
	node, err := src.parse(data)
	if err != nil {
		l.errs = append(l.errs, err)
		return
	}
	if isNull(node) {
		return
	}
	l.mapping(l.fields, fileNode{node, src}, "")
}

func readFile(name string) ([]byte, error) {
	if scheme, _, ok := strings.Cut(name, "://"); ok {
		return nil, &UsageError{
			fmt.Sprintf("--config %s: %s addresses are not supported, want a file", name, scheme),
			"download it first: curl -LO " + name,
		}
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &UsageError{fmt.Sprintf("--config %s: no such file", name), ""}
	} else if err != nil {
		return nil, &UsageError{fmt.Sprintf("--config: %v", err), ""}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, &UsageError{fmt.Sprintf("--config: %v", err), ""}
	}
	if len(data) > maxFile {
		return nil, &UsageError{fmt.Sprintf("--config %s: larger than %d bytes, want a YAML file of settings", name, maxFile), ""}
	}
	return data, nil
}

// splitLines splits at the line breaks that YAML knows.
func splitLines(s string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(s), "\n")
}

var (
	yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	// The messages of yaml's parser, whose lines count from 0; those of its
	// scanner count from 1. See fail in decode.go of yaml v3.0.6.
	parserError = regexp.MustCompile(`^did not find expected (key|node content|'-' indicator|',' or '[\]}]'|<document start>)|^found (undefined tag handle|duplicate %|incompatible YAML)`)
)

// parse returns the value of the one document in data, null for an empty text.
func (s *source) parse(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	if err == nil {
		if err = dec.Decode(&second); errors.Is(err, io.EOF) {
			return doc.Content[0], nil
		}
	}
	if err != nil {
		m := yamlError.FindStringSubmatch(err.Error())
		if m == nil {
			return nil, s.at(0, 0, "%v", err)
		}
		line, _ := strconv.Atoi(m[1])
		if parserError.MatchString(m[2]) {
			line++
		}
		return nil, s.at(line, 0, "%s", m[2])
	}
	return nil, s.at(second.Line, second.Column, "a second YAML document, want one")
}

// at makes an error that shows the place: line and column count from 1, 0 is
// unknown.
//
//	lora.yaml:4:3: unknown key "lerning_rate" (did you mean "learning_rate"?)
//	    4 |   lerning_rate: 3
//	      |   ^
func (s *source) at(line, column int, format string, a ...any) *UsageError {
	var b strings.Builder
	b.WriteString(s.name)
	known := line > 0 && line <= len(s.lines)
	if known {
		fmt.Fprintf(&b, ":%d", line)
		if column > 0 {
			fmt.Fprintf(&b, ":%d", column)
		}
	}
	b.WriteString(": ")
	fmt.Fprintf(&b, format, a...)
	if known {
		text, before := excerpt(s.lines[line-1], column)
		fmt.Fprintf(&b, "\n%5d | %s", line, text)
		if column > 0 {
			fmt.Fprintf(&b, "\n      | %s^", before)
		}
	}
	return &UsageError{Msg: b.String()}
}

// excerpt returns at most 100 characters of a line that show the column, and
// as much white space as stands before the column there.
func excerpt(line string, column int) (text, before string) {
	const wide = 100
	runes := []rune(strings.ToValidUTF8(line, "\ufffd"))
	at := min(max(column-1, 0), len(runes))
	from := 0
	if at >= wide {
		from = at - wide/2
	}
	blank := slices.Clone(runes[from:at])
	for i, r := range blank {
		if r != '\t' { // tabs stay, so that the caret lines up
			blank[i] = ' '
		}
	}
	return string(runes[from:min(len(runes), from+wide)]), string(blank)
}

// failAt records a mistake at a node.
func (l *loader) failAt(n fileNode, format string, a ...any) {
	l.errs = append(l.errs, n.src.at(n.Line, n.Column, format, a...))
}

// mapping applies a YAML mapping to the fields. owner says whose keys they are
// in messages: "" for settings, else the class.
func (l *loader) mapping(fields []*field, n fileNode, owner string) {
	n.Node = target(n.Node)
	if n.Kind != yaml.MappingNode {
		l.failAt(n, "want settings, one `key: value` a line, got %s", describe(n.Node))
		return
	}
	first := map[string]int{} // key -> its line
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := fileNode{target(n.Content[i]), n.src}, fileNode{n.Content[i+1], n.src}
		if key.Kind != yaml.ScalarNode {
			l.failAt(key, "want a key, got %s", describe(key.Node))
			continue
		}
		if line, twice := first[key.Value]; twice {
			l.failAt(key, "key %q is given twice, first on line %d", key.Value, line)
			continue
		}
		first[key.Value] = key.Line
		f := find(fields, key.Value)
		switch {
		case f != nil:
			l.apply(f, value)
		case key.ShortTag() == "!!merge":
			l.failAt(key, "merging with << is not supported, write the keys out")
		default:
			l.failAt(key, "%s", l.unknownKey(key.Value, fields, owner))
		}
	}
}

// choiceKeys are the keys of a choice; what a class itself has stands below init_args.
const choiceKeys = "class_path and init_args"

// unknownKey says that a key is unknown, and which one may have been meant:
// one that is near, or one of the same name elsewhere.
func (l *loader) unknownKey(key string, siblings []*field, owner string) string {
	msg := fmt.Sprintf("unknown key %q", key)
	switch owner {
	case "":
	case choiceKeys:
		return msg + ", want " + owner
	default:
		msg += " of " + owner
	}
	var keys []string
	for _, f := range siblings {
		keys = append(keys, f.key)
	}
	if near := didYouMean(key, keys); near != "" {
		return msg + near
	}
	for _, f := range leaves(l.fields) {
		if f.key == key {
			return fmt.Sprintf("%s (did you mean %q?)", msg, f.path)
		}
		for _, o := range f.options() {
			if o.field.key == key {
				return fmt.Sprintf("%s (%s)", msg, haveIt(o.classes))
			}
		}
	}
	if owner != "" && len(keys) > 0 {
		return fmt.Sprintf("%s, which has %s", msg, strings.Join(keys, ", "))
	}
	return msg
}

// apply sets a field to a YAML value.
func (l *loader) apply(f *field, n fileNode) {
	n.Node = target(n.Node)
	switch {
	case f.catch != nil:
		*f.catch = n.Node
	case f.group && isNull(n.Node):
	case f.group:
		l.mapping(f.kids, n, "")
	case f.choice:
		l.chooseByNode(f, n, l.classByFlag(f))
	case isNull(n.Node):
		f.value.SetZero()
	case isList(f.value.Type()):
		items, bad := listItems(n.Node)
		if bad != nil {
			l.failAt(fileNode{bad, n.src}, "%s: want %s, such as [a, b], got %s", f.path, typeName(f.value.Type()), describe(bad))
		} else if err := setList(f.value, items); err != nil {
			l.failAt(n, "%s: %v", f.path, err)
		}
	default:
		text, err := scalarText(n.Node)
		if err == nil {
			err = setText(f.value, text)
		}
		if err != nil {
			l.failAt(n, "%s: %v", f.path, err)
		}
	}
}

// classByFlag returns the class that the flag of a choice names, or "".
func (l *loader) classByFlag(f *field) string {
	if given := l.given[f.path]; given != nil {
		name, _ := f.findClass(given[len(given)-1]) // an unknown one is reported when flags are applied
		return name
	}
	return ""
}

// chooseByNode applies `JSON`, or `{class_path: JSON, init_args: {…}}`, to a
// choice. Without class_path the class is byFlag, or else the default.
func (l *loader) chooseByNode(f *field, n fileNode, byFlag string) {
	if isNull(n.Node) {
		return
	}
	n.Node = target(n.Node)
	if n.Kind == yaml.ScalarNode {
		l.chooseClass(f, n)
		return
	}
	var path, args *yaml.Node
	l.mapping([]*field{
		{key: "class_path", catch: &path},
		{key: "init_args", catch: &args},
	}, n, choiceKeys)
	switch {
	case path != nil && !isNull(path):
		if !l.chooseClass(f, fileNode{path, n.src}) {
			return
		}
	case byFlag != "":
		f.value.SetString(byFlag)
	case f.value.String() == "":
		l.failAt(n, "%s: missing class_path, one of %s", f.path, strings.Join(f.classNames(), ", "))
		return
	}
	if args != nil && !isNull(args) {
		chosen := f.value.String()
		l.mapping(f.kidsOf(chosen), fileNode{args, n.src}, chosen)
		if args.Kind == yaml.MappingNode {
			l.initArgs[f.path] = fileNode{args, n.src}
		}
	}
}

// chooseClass sets the class of a choice to the one that n names.
func (l *loader) chooseClass(f *field, n fileNode) bool {
	text, err := scalarText(n.Node)
	if err == nil {
		text, err = f.findClass(text)
	}
	if err != nil {
		l.failAt(n, "%s: %v", f.path, err)
		return false
	}
	f.value.SetString(text)
	return true
}

// target follows aliases. An alias cannot point to an alias.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	n = target(n)
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// coreTags are those whose text is taken as it stands: the wanted type, not
// the look of the value, decides how it is read.
var coreTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp", "!!merge"}

// scalarText returns the text of a scalar.
func scalarText(n *yaml.Node) (string, error) {
	if n.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("want one value, got %s", describe(n))
	}
	tag := n.ShortTag()
	if tag == "!!binary" { // how YAML holds text that is not UTF-8
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			return "", fmt.Errorf("bad !!binary value: %w", err)
		}
		return string(data), nil
	}
	if !slices.Contains(coreTags, tag) {
		return "", fmt.Errorf("unknown tag %s", tag)
	}
	return n.Value, nil
}

// listItems returns the texts of a sequence of scalars, or the node that is
// something else.
func listItems(n *yaml.Node) (items []string, bad *yaml.Node) {
	n = target(n)
	if n.Kind != yaml.SequenceNode {
		return nil, n
	}
	for _, c := range n.Content {
		text, err := scalarText(target(c))
		if err != nil {
			return nil, target(c)
		}
		items = append(items, text)
	}
	return items, nil
}

// describe says in messages what a node is.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case utf8.RuneCountInString(n.Value) > 40:
		return "a long text"
	}
	return fmt.Sprintf("%q", n.Value)
}
