// Litgpt pretrains, finetunes, runs and serves large language models.
//
// This file is the table of commands and what they share: streams, errors,
// exit codes, signals. Each command is one small file beside it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/progress"
	"github.com/litgpt-go/litgpt/internal/settings"
)

// commands are in the order of a first session, which is the order help shows.
//
// To add one, write <command>.go with
//
//	func newChat(env *env) *cobra.Command {
//		cfg := recipes.NewChat()
//		return settings.Command("chat", "talk with a model", "…", &cfg, func(ctx context.Context) error {
//			return cfg.Run(ctx, env.stdin, env.stdout, env.log)
//		})
//	}
//
// and put newChat in its place here. A constructor does no work: all of them
// run at every start.
var commands = []func(*env) *cobra.Command{
	newDownload, newChat, newServe, newGenerate, newGenerateSequentially, newGenerateSpeculatively, newFinetune, newFinetuneLoRA, newFinetuneFull, newMergeLoRA, newPretrain, newQuantize, newScore,
	newConvert, newConvertToLitGPT, newConvertFromLitGPT, newConvertPretrained, newTokenize, newTemplate, newTrainTokenizer, newCheck, newDoctor,
}

// env is what a command has of the world outside.
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer // results; everything else

	// Whether these are terminals: chat edits lines if stdin is one, progress
	// draws bars if stderr is one.
	stdinTerminal, stdoutTerminal, stderrTerminal bool

	log *slog.Logger // to stderr; newLogger(bar.Writer()) while a bar is shown
}

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

func main() {
	ctx := interruptible(context.Background(), os.Stderr)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// interruptible returns a context that the first SIGINT or SIGTERM cancels.
// The second one has its usual effect: it kills the process at once.
func interruptible(parent context.Context, stderr io.Writer) context.Context {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop()
		fmt.Fprintln(stderr, "\nlitgpt: finishing what is begun; press Ctrl-C again to stop at once")
	})
	return ctx
}

// run is main without the globals, so that tests can call it. It returns the
// exit code; when ctx is cancelled commands end with its error.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := &env{
		stdin: stdin, stdout: stdout, stderr: stderr,
		stdoutTerminal: progress.IsTerminal(stdout), stderrTerminal: progress.IsTerminal(stderr),
		log: newLogger(stderr),
	}
	if f, ok := stdin.(*os.File); ok {
		env.stdinTerminal = progress.IsTerminal(f)
	}
	root := newRoot(env)
	args = settings.Args(root, args)
	root.SetArgs(args)
	err := unknownCommand(root, args)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	return report(ctx, stderr, err)
}

// newLogger writes records as lines of key=value. Time and the level INFO are
// left out: lines are read as they appear.
func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			usual := a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime || a.Key == slog.LevelKey && a.Value.String() == "INFO"
			if usual && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// report prints err, and the advice that comes with it, and returns the exit
// code it stands for.
func report(ctx context.Context, stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		what := strings.TrimSuffix(strings.TrimSuffix(err.Error(), context.Canceled.Error()), ": ")
		if what != "" {
			what = ": " + what
		}
		fmt.Fprintf(stderr, "litgpt: interrupted%s\n", what)
		return exitInterrupted
	}
	hints := []string{}
	for _, e := range all(err) {
		fmt.Fprintf(stderr, "litgpt: error: %v\n", e)
		var adviser interface{ Advice() string }
		if errors.As(e, &adviser) && adviser.Advice() != "" && !slices.Contains(hints, adviser.Advice()) {
			hints = append(hints, adviser.Advice())
		}
	}
	for _, h := range hints {
		fmt.Fprintf(stderr, "litgpt: hint: %s\n", h)
	}
	var usage *settings.UsageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// all returns the errors that errors.Join put together, in order. An error
// that wraps several but has words of its own stays one.
func all(err error) (out []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || err.Error() != errors.Join(joined.Unwrap()...).Error() {
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		out = append(out, all(e)...)
	}
	return out
}
