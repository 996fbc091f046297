package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command makes a command of cfg, a pointer to a struct that holds the
// defaults: its flags and arguments, --config FILE and --print_config. It
// fills cfg, checks that no argument is missing or too many, and calls run.
// use may be the name alone; the arguments are added to it, and what they mean
// to long.
func Command(use, short, long string, cfg any, run func(ctx context.Context) error) *cobra.Command {
	fields := schema(cfg)
	defaults := map[string]string{}
	collect(defaults, fields)

	if !strings.Contains(use, " ") {
		for _, f := range positionals(fields) {
			use += " " + f.usage()
		}
	}
	if args := argumentHelp(fields); args != "" {
		long = strings.TrimSpace(long+"\n\nArguments:\n"+args) + "\n"
	}

	var file configFile
	var print bool
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long,
		Args:          cobra.ArbitraryArgs, // counted below, with the other mistakes
		SilenceErrors: true, SilenceUsage: true,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		hint := cmd.CommandPath() + " --help lists the arguments and flags"
		var errs []error
		if err := Load(cmd.Flags(), cfg, file.name, args); err != nil {
			errs = append(errs, err)
		}
		if !print {
			errs = append(errs, missing(fields, hint)...)
		}
		switch {
		case len(errs) > 0:
			return join(errs)
		case print:
			return write(cmd.OutOrStdout(), schema(cfg), func(f *field) string {
				return fmt.Sprintf("(type: %s, default: %s)", f.typeName(), defaults[f.valueID()])
			})
		}
		return run(cmd.Context())
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			for _, f := range positionals(fields) {
				if f.path == unknown.GetSpecifiedName() {
					return &UsageError{fmt.Sprintf("--%s is an argument, not a flag", f.path), "usage: " + cmd.UseLine()}
				}
			}
		}
		return FlagError(cmd, err)
	})

	fs := cmd.Flags()
	Bind(fs, cfg)
	fs.Var(&file, "config", "take settings from this YAML file; flags count more than it does")
	fs.BoolVar(&print, "print_config", false, "print the settings as YAML for --config, then quit")
	complete(cmd, fields)
	return cmd
}

// collect notes the values of all fields, also those of classes not chosen.
func collect(into map[string]string, fields []*field) {
	for _, f := range fields {
		if !f.group {
			into[f.valueID()] = f.valueText()
		}
		collect(into, f.kids)
		for _, c := range f.classes {
			collect(into, c.kids)
		}
	}
}

// valueID tells the fields of one path in several classes apart.
func (f *field) valueID() string { return fmt.Sprintf("%s@%x", f.path, f.value.Addr().Pointer()) }

// usage is the field in the usage line: NAME, [NAME] or NAME...
func (f *field) usage() string {
	s := f.argName()
	if isList(f.value.Type()) {
		s += "..."
	}
	if f.optional {
		s = "[" + s + "]"
	}
	return s
}

func argumentHelp(fields []*field) string {
	args := positionals(fields)
	width := 0
	for _, f := range args {
		width = max(width, len(f.argName()))
	}
	var b strings.Builder
	for _, f := range args {
		fmt.Fprintf(&b, "  %-*s   %s", width, f.argName(), f.help)
		if !f.value.IsZero() {
			fmt.Fprintf(&b, " (default %s)", f.valueText())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// complete gives the shell the values of --config, of choices and of bools.
func complete(cmd *cobra.Command, fields []*field) {
	// These fail only for flags that do not exist or were registered before.
	cobra.CheckErr(cmd.MarkFlagFilename("config", "yaml", "yml"))
	for _, f := range leaves(fields) {
		if f.choice {
			cobra.CheckErr(cmd.RegisterFlagCompletionFunc(f.path, cobra.FixedCompletions(f.classNames(), cobra.ShellCompDirectiveNoFileComp)))
		}
	}
}

// configFile is the flag --config, once.
type configFile struct{ name string }

func (c *configFile) String() string { return c.name }
func (c *configFile) Type() string   { return "file" }

func (c *configFile) Set(s string) error {
	switch {
	case s == "":
		return errors.New("want the name of a file")
	case c.name != "":
		return fmt.Errorf("given twice, first as %q", c.name)
	}
	c.name = s
	return nil
}

// FlagError turns what pflag says about a command line into a *UsageError that
// names the nearest flag. It is for cobra's SetFlagErrorFunc.
func FlagError(cmd *cobra.Command, err error) error {
	hint := cmd.CommandPath() + " --help lists the flags"
	var unknown *pflag.NotExistError
	var valueless *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name, dashes := unknown.GetSpecifiedName(), "--"
		if short := unknown.GetSpecifiedShortnames(); short != "" {
			name, dashes = short, "-"
		}
		return &UsageError{fmt.Sprintf("unknown flag %s%s%s", dashes, name, nearFlag(cmd.Flags(), name)), hint}
	case errors.As(err, &valueless):
		return &UsageError{fmt.Sprintf("--%s needs a value", valueless.GetSpecifiedName()), hint}
	case errors.As(err, &invalid) && invalid.GetFlag().Value.Type() == "bool":
		return &UsageError{fmt.Sprintf("--%s: want true or false, got %q", invalid.GetFlag().Name, invalid.GetValue()), hint}
	case errors.As(err, &invalid):
		return &UsageError{fmt.Sprintf("--%s: %v", invalid.GetFlag().Name, invalid.Unwrap()), hint}
	}
	return &UsageError{err.Error(), hint}
}

// nearFlag is " (did you mean --…?)": the flags whose last part is name, the
// only flag that begins with it, or one that is spelled alike.
func nearFlag(fs *pflag.FlagSet, name string) string {
	var all, same, longer []string
	fs.VisitAll(func(f *pflag.Flag) {
		all = append(all, f.Name)
		if strings.HasSuffix(f.Name, "."+name) {
			same = append(same, "--"+f.Name)
		}
		if strings.HasPrefix(f.Name, name) {
			longer = append(longer, "--"+f.Name)
		}
	})
	near := Nearest(strings.ReplaceAll(name, "-", "_"), all)
	switch {
	case len(same) > 0:
		return fmt.Sprintf(" (did you mean %s?)", strings.Join(same, " or "))
	case slices.Contains(all, strings.ReplaceAll(name, "-", "_")):
	case len(longer) == 1:
		return fmt.Sprintf(" (did you mean %s?)", longer[0])
	}
	if near == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean --%s?)", near)
}

// Args rewrites the arguments of root so that a bool flag may be followed by
// its value: LitGPT's `--lora_key true` becomes `--lora_key=true`. pflag would
// take that true for a positional argument.
func Args(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil {
		return args // an unknown command, which cobra reports
	}
	var out []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		out = append(out, arg)
		if arg == "--" {
			return append(out, args[i+1:]...)
		}
		name, long := strings.CutPrefix(arg, "--")
		flag := cmd.Flags().Lookup(name) // nil for name=value too
		if !long || flag == nil || i+1 == len(args) {
			continue
		}
		if flag.NoOptDefVal == "" { // the next one is its value, whatever it looks like
			i++
			out = append(out, args[i])
		} else if _, ok := parseBool(args[i+1]); ok && flag.Value.Type() == "bool" {
			i++
			out[len(out)-1] += "=" + args[i]
		}
	}
	return out
}
