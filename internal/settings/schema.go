package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A field is one setting, one group of settings, or one choice of a class.
type field struct {
	path     string        // the flag's name, and the keys from the top of the file: "train.max_steps"
	key      string        // the last part of path
	help     string        // from the tag
	arg      int           // place among the positional arguments, -1 for none
	optional bool          // a positional argument that may be left out
	value    reflect.Value // the Go field; of a choice its Class
	group    bool          // kids are the settings of a nested struct
	kids     []*field
	choice   bool // classes are what may be chosen
	classes  []class
	catch    **yaml.Node // instead of a value: where apply puts what the file gives
}

type class struct {
	name string
	kids []*field
}

// schema returns the settings of cfg, a pointer to a struct. What breaks the
// rules of the package is a mistake in the program and panics.
func schema(cfg any) []*field {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("settings: want a pointer to a struct, got %T", cfg))
	}
	return structFields(v.Elem(), "")
}

func structFields(v reflect.Value, prefix string) (out []*field) {
	for i := range v.NumField() {
		tf := v.Type().Field(i)
		key, option, _ := strings.Cut(tf.Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			out = append(out, structFields(v.Field(i), prefix)...)
			continue
		case key == "" || key == "-":
			continue
		}
		f := &field{path: prefix + key, key: key, help: tf.Tag.Get("help"), arg: -1, value: v.Field(i)}
		if tag, ok := tf.Tag.Lookup("arg"); ok {
			number, opt, _ := strings.Cut(tag, ",")
			n, err := strconv.Atoi(number)
			if err != nil || n < 0 || prefix != "" {
				panic(fmt.Sprintf("settings: %s: bad tag arg:%q", f.path, tag))
			}
			f.arg, f.optional = n, opt == "optional"
		}
		switch {
		case tf.Type.Kind() != reflect.Struct:
			if !isScalar(tf.Type) && !isList(tf.Type) {
				panic(fmt.Sprintf("settings: %s has type %v", f.path, tf.Type))
			}
		case isChoice(tf.Type):
			f.choice, f.value, f.classes = true, v.Field(i).Field(0), classes(v.Field(i), f.path+".")
		default:
			f.group, f.kids = true, structFields(v.Field(i), f.path+".")
		}
		out = append(out, f)
	}
	for i, f := range out {
		if slices.ContainsFunc(out[:i], func(g *field) bool { return g.key == f.key }) {
			panic(fmt.Sprintf("settings: two fields are named %s", f.path))
		}
	}
	return out
}

func isChoice(t reflect.Type) bool {
	return t.NumField() > 0 && t.Field(0).Tag.Get("yaml") == ",class" && t.Field(0).Type.Kind() == reflect.String
}

func classes(v reflect.Value, prefix string) (out []class) {
	for i := 1; i < v.NumField(); i++ {
		tf := v.Type().Field(i)
		name := tf.Tag.Get("class")
		if name == "" || tf.Type.Kind() != reflect.Struct {
			panic(fmt.Sprintf("settings: %s%s: want a struct with the tag class", prefix, tf.Name))
		}
		c := class{name, structFields(v.Field(i), prefix)}
		for _, k := range leaves(c.kids) {
			if k.choice {
				panic(fmt.Sprintf("settings: %s is a choice within a choice", k.path))
			}
		}
		out = append(out, c)
	}
	return out
}

// leaves returns the fields with groups replaced by what they hold.
func leaves(fields []*field) (out []*field) {
	for _, f := range fields {
		if f.group {
			out = append(out, leaves(f.kids)...)
		} else {
			out = append(out, f)
		}
	}
	return out
}

// positionals returns the fields that are arguments, in their order.
func positionals(fields []*field) (out []*field) {
	for _, f := range fields {
		if f.arg >= 0 {
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b *field) int { return a.arg - b.arg })
	return out
}

func find(fields []*field, key string) *field {
	for _, f := range fields {
		if f.key == key {
			return f
		}
	}
	return nil
}

// argName is how messages and help write a positional argument: CHECKPOINT_DIR.
func (f *field) argName() string { return strings.ToUpper(f.key) }

// An option is a setting that one or more classes of a choice have.
type option struct {
	field   *field // of the chosen class if that has it, else of the first class that does
	classes []string
	of      int // classes in all
}

func (o option) usage() string {
	if len(o.classes) == o.of {
		return o.field.help
	}
	return fmt.Sprintf("%s [%s]", o.field.help, strings.Join(o.classes, ", "))
}

// options returns the settings of all classes of a choice, one for each name.
func (f *field) options() (out []option) {
	for _, c := range f.classes {
		for _, k := range leaves(c.kids) {
			i := slices.IndexFunc(out, func(o option) bool { return o.field.path == k.path })
			if i < 0 {
				i = len(out)
				out = append(out, option{field: k, of: len(f.classes)})
			}
			out[i].classes = append(out[i].classes, c.name)
			if c.name == f.value.String() {
				out[i].field = k
			}
		}
	}
	return out
}

func (f *field) classNames() (out []string) {
	for _, c := range f.classes {
		out = append(out, c.name)
	}
	return out
}

// kidsOf returns the settings of the class of that name, nil for no class.
func (f *field) kidsOf(name string) []*field {
	for _, c := range f.classes {
		if c.name == name {
			return c.kids
		}
	}
	return nil
}

// inClass returns the setting of that path in the named class, or nil.
func (f *field) inClass(name, path string) *field {
	for _, k := range leaves(f.kidsOf(name)) {
		if k.path == path {
			return k
		}
	}
	return nil
}

// findClass returns the class a text means: JSON and litgpt.data.JSON are one.
func (f *field) findClass(text string) (string, error) {
	name := text[strings.LastIndexByte(text, '.')+1:]
	names := f.classNames()
	if slices.Contains(names, name) {
		return name, nil
	}
	return "", fmt.Errorf("unknown class %q%s; the known ones are %s", text, didYouMean(name, names), strings.Join(names, ", "))
}
