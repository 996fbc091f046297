// Package settings makes one struct the source of a command's defaults, its
// YAML file and its flags. A value comes from the last of these that gives it:
// the struct as it was handed over, the file, the flags.
//
//	type Train struct {
//		MaxSteps int     `yaml:"max_steps" help:"stop after this many optimizer steps"`
//		MaxNorm  float64 `yaml:"max_norm" help:"clip the gradient at this norm; 0 does not clip"`
//	}
//	type Finetune struct {
//		CheckpointDir string `yaml:"checkpoint_dir" arg:"0" help:"directory of the base model"`
//		Data          Data   `yaml:"data" help:"where the examples come from"`
//		Train         Train  `yaml:"train"`
//	}
//	type Data struct { // a choice of one class
//		Class string   `yaml:",class"`
//		JSON  JSONFile `class:"JSON"`
//		LIMA  LIMA     `class:"LIMA"`
//	}
//
// Finetune above has the flags --data, --data.json_path (and whatever else
// JSONFile and LIMA hold), --train.max_steps and --train.max_norm; its one
// positional argument and its file keys carry the same names. Fields are
// strings, bools, ints, floats, slices of these, and structs; an embedded
// struct tagged `yaml:",inline"` adds its fields to those around it. A field
// without a yaml tag, or with `yaml:"-"`, is not a setting. `arg:"1,optional"`
// may be left out; a slice takes all remaining arguments.
//
// The zero value means "absent". An empty or null value in a file sets it; on
// a group of settings or a choice it changes nothing.
//
// Start reading at Load; schema.go says what a struct means, file.go reads
// YAML, command.go joins it to cobra.
package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// UsageError is a mistake in how the program was called: Msg names the thing,
// what was wanted and what was got, Hint (may be empty) what to do about it.
type UsageError struct{ Msg, Hint string }

func (e *UsageError) Error() string { return e.Msg }

// Advice returns the hint.
func (e *UsageError) Advice() string { return e.Hint }

// Bind registers a flag for every setting of cfg, a pointer to a struct that
// holds the defaults. Positional arguments are not flags. The flags only
// record what was given; Load checks it and writes it to cfg. A struct that
// breaks the rules of the package, or two settings of one name, panics.
func Bind(fs *pflag.FlagSet, cfg any) {
	fs.SortFlags = false // help in the order of the struct
	for _, f := range leaves(schema(cfg)) {
		switch {
		case f.arg >= 0:
		case f.choice:
			bind(fs, f, fmt.Sprintf("%s (one of %s)", f.help, strings.Join(f.classNames(), ", ")))
			for _, o := range f.options() {
				bind(fs, o.field, o.usage())
			}
		default:
			bind(fs, f, f.help)
		}
	}
}

func bind(fs *pflag.FlagSet, f *field, usage string) {
	kind := flagType(f.value.Type())
	flag := fs.VarPF(&flagValue{kind: kind, def: defaultText(f.value)}, f.path, "", usage)
	if kind == "bool" {
		flag.NoOptDefVal = "true"
	}
}

// flagValue records the texts given for one flag, in order.
type flagValue struct {
	kind, def string
	given     []string
}

func (v *flagValue) String() string {
	if n := len(v.given); n > 0 {
		return v.given[n-1]
	}
	return v.def
}

func (v *flagValue) Set(s string) error { v.given = append(v.given, s); return nil }
func (v *flagValue) Type() string       { return v.kind }

// Load fills cfg, which Bind has seen and whose flags fs has parsed: first from
// the YAML file (none if file is ""), then from the flags that were given, then
// from args, the positional arguments. Mistakes are *UsageError; several are
// reported together, as one error whose Unwrap gives them all. After an error
// cfg may be half filled.
//
// Load does not ask for arguments that are missing; Command does.
func Load(fs *pflag.FlagSet, cfg any, file string, args []string) error {
	l := newLoader(cfg)
	fs.VisitAll(func(f *pflag.Flag) {
		if v, ok := f.Value.(*flagValue); ok && len(v.given) > 0 {
			l.given[f.Name] = v.given
		}
	})
	if file != "" {
		l.file(file)
	}
	l.flags()
	l.positionals(args)
	return join(l.errs)
}

// join returns nil, the only error, or all of them as one.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// loader is one run of Load.
type loader struct {
	fields   []*field
	given    map[string][]string // flag name -> the texts given, at least one
	initArgs map[string]fileNode // path of a choice -> the file's init_args
	errs     []error
}

func newLoader(cfg any) *loader {
	return &loader{fields: schema(cfg), given: map[string][]string{}, initArgs: map[string]fileNode{}}
}

// fail records a mistake.
func (l *loader) fail(hint, format string, a ...any) {
	l.errs = append(l.errs, &UsageError{fmt.Sprintf(format, a...), hint})
}

// flags applies the flags that were given.
func (l *loader) flags() {
	for _, f := range leaves(l.fields) {
		if f.choice {
			l.chooseByFlag(f)
		} else {
			l.flag(f)
		}
	}
}

// flag applies the flag of one setting, if it was given.
func (l *loader) flag(f *field) {
	given := l.given[f.path]
	if f.arg >= 0 || given == nil {
		return
	}
	if err := setFromFlag(f.value, given); err != nil {
		l.fail("", "--%s: %v", f.path, err)
	}
}

// chooseByFlag applies --data and --data.*, for a choice named data.
func (l *loader) chooseByFlag(f *field) {
	if given := l.given[f.path]; given != nil {
		text := given[len(given)-1]
		if strings.HasPrefix(strings.TrimSpace(text), "{") { // {"class_path": "JSON", "init_args": {…}}
			src := &source{name: "--" + f.path}
			if doc, err := src.parse([]byte(text)); err != nil {
				l.errs = append(l.errs, err)
			} else {
				delete(l.initArgs, f.path)
				l.chooseByNode(f, fileNode{doc, src}, "")
			}
		} else if text == "" || text == "null" { // as in a file: keep the default
		} else if name, err := f.findClass(text); err != nil {
			l.fail("", "--%s: %v", f.path, err)
		} else if was := f.value.String(); was != name {
			f.value.SetString(name)
			l.carryOver(f)
		}
	}

	chosen := f.value.String()
	for _, o := range f.options() {
		if l.given[o.field.path] == nil {
			continue
		}
		if own := f.inClass(chosen, o.field.path); own != nil {
			l.flag(own)
		} else if chosen == "" {
			l.fail("", "--%s needs --%s: one of %s", o.field.path, f.path, strings.Join(o.classes, ", "))
		} else {
			l.fail("", "--%s: %s has no %s (%s)", o.field.path, chosen, strings.TrimPrefix(o.field.path, f.path+"."), haveIt(o.classes))
		}
	}
}

// carryOver gives the class that a flag chose those init_args of the file that
// it has too, so that a recipe's prompt style and seed hold for other data.
// The others belong to the class that was not chosen.
func (l *loader) carryOver(f *field) {
	n, ok := l.initArgs[f.path]
	if !ok {
		return
	}
	kids := f.kidsOf(f.value.String())
	for i := 0; i+1 < len(n.Content); i += 2 {
		if kid := find(kids, target(n.Content[i]).Value); kid != nil {
			l.apply(kid, fileNode{n.Content[i+1], n.src})
		}
	}
}

// positionals applies the positional arguments.
func (l *loader) positionals(args []string) {
	for i, f := range positionals(l.fields) {
		switch {
		case i >= len(args):
		case isList(f.value.Type()):
			if err := setList(f.value, args[i:]); err != nil {
				l.fail("", "%s: %v", f.argName(), err)
			}
			return
		default:
			if err := setText(f.value, args[i]); err != nil {
				l.fail("", "%s: %v", f.argName(), err)
			}
		}
	}
	if want := len(positionals(l.fields)); len(args) > want {
		l.fail("", "unexpected argument %q (%d wanted, %d given)", args[want], want, len(args))
	}
}

// missing reports the positional arguments that neither the command line nor
// the file gave.
func missing(fields []*field, hint string) (errs []error) {
	for _, f := range positionals(fields) {
		if !f.optional && f.value.IsZero() {
			msg := fmt.Sprintf("missing %s", f.argName())
			if f.help != "" {
				msg += ", " + f.help
			}
			errs = append(errs, &UsageError{msg, hint})
		}
	}
	return errs
}

// haveIt says which classes have a setting: "JSON and LIMA have it".
func haveIt(classes []string) string {
	if len(classes) == 1 {
		return classes[0] + " has it"
	}
	n := len(classes) - 1
	return strings.Join(classes[:n], ", ") + " and " + classes[n] + " have it"
}
