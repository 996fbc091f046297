package main

import (
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
)

// newRoot returns the command litgpt with everything in the table below it.
func newRoot(env *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "litgpt",
		Short:         "pretrain, finetune, run and serve large language models",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.SetFlagErrorFunc(settings.FlagError)

	var table []*cobra.Command
	for _, newCommand := range commands {
		table = append(table, newCommand(env))
	}
	root.AddCommand(table...)

	version := root.Flags().Bool("version", false, "print the version, then quit")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *version {
			fmt.Fprintln(env.stdout, versionText())
			return nil
		}
		writeHelp(env.stderr, table)
		return &settings.UsageError{Msg: "missing command"}
	}

	commandHelp := root.HelpFunc() // before it is replaced for root, and so for all
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root {
			writeHelp(env.stdout, table)
		} else {
			commandHelp(cmd, args)
		}
	})
	help := &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "say what a command does, and list its flags",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := unknownCommand(root, args); err != nil {
				return err
			}
			topic, _, err := root.Find(args)
			if err != nil {
				return err
			}
			topic.InitDefaultHelpFlag() // so that it is listed
			return topic.Help()
		},
	}
	root.AddCommand(help)
	root.SetHelpCommand(help)
	root.InitDefaultCompletionCmd()
	return root
}

// writeHelp lists the commands in the order of the table; cobra would sort them.
func writeHelp(w io.Writer, table []*cobra.Command) {
	width := len("completion")
	for _, c := range table {
		width = max(width, len(c.Name()))
	}
	var b strings.Builder
	b.WriteString("litgpt pretrains, finetunes, runs and serves large language models.\n\n")
	b.WriteString("Usage:\n  litgpt COMMAND [ARGUMENT...] [--flag value...]\n\nCommands:\n")
	for _, c := range table {
		if !c.Hidden {
			fmt.Fprintf(&b, "  %-*s   %s\n", width, c.Name(), c.Short)
		}
	}
	if len(table) > 0 { // else there is nothing to complete, and cobra leaves it out
		fmt.Fprintf(&b, "  %-*s   print a script that completes commands and flags in your shell\n", width, "completion")
	}
	b.WriteString("\nFlags:\n  --help      say this, or after a command what it does\n  --version   print the version, then quit\n\n")
	b.WriteString("A command's flags are also the keys of the YAML file for its --config:\n")
	b.WriteString("litgpt COMMAND --print_config writes one to start from.\n")
	io.WriteString(w, b.String())
}

// unknownCommand is an error if the first argument that is no flag is not a
// command. cobra would look at the flags first, which belong to the command
// that was meant.
func unknownCommand(root *cobra.Command, args []string) error {
	i := 0
	for i < len(args) && strings.HasPrefix(args[i], "-") {
		i++
	}
	if i == len(args) || args[i] == cobra.ShellCompRequestCmd || args[i] == cobra.ShellCompNoDescRequestCmd {
		return nil
	}
	var names []string
	for _, c := range root.Commands() {
		if c.Name() == args[i] || c.HasAlias(args[i]) {
			return nil
		}
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	msg := fmt.Sprintf("unknown command %q", args[i])
	if near := settings.Nearest(args[i], names); near != "" {
		msg += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return &settings.UsageError{Msg: msg, Hint: "litgpt --help lists the commands"}
}

// versionText is "litgpt v0.1.0 go1.26.8 linux/amd64", with the commit for a
// build that has no version.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "litgpt (unknown version)"
	}
	version := info.Main.Version
	build := map[string]string{}
	for _, s := range info.Settings {
		build[s.Key] = s.Value
	}
	if version == "" || version == "(devel)" {
		version = "(devel)"
		if commit := build["vcs.revision"]; len(commit) >= 12 {
			version += " " + commit[:12]
		}
		if build["vcs.modified"] == "true" {
			version += " modified"
		}
	}
	return fmt.Sprintf("litgpt %s %s %s/%s", version, info.GoVersion, build["GOOS"], build["GOARCH"])
}
