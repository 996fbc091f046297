package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/litgpt-go/litgpt/internal/settings"
)

var update = flag.Bool("update", false, "write the golden texts of testdata/script anew")

// TestMain makes this test binary the program litgpt for the scripts and for
// tests that run it as a process, with the command probe added to the table.
func TestMain(m *testing.M) {
	commands = append(commands, newProbe)
	testscript.Main(tests{m}, map[string]func(){"litgpt": main})
}

// Scripts find the tiny model in $TINY, the directory of texts in $DATA and the
// tokenizer in $TOKENIZER.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("TINY", tiny(t))
			e.Setenv("DATA", path("testdata"))
			e.Setenv("TOKENIZER", path(tokenizerDir))
			e.Setenv("XDG_CACHE_HOME", os.Getenv("XDG_CACHE_HOME"))
			return nil
		}})
}

// newProbe is a command that shows what reaches a command and ends in each of
// the ways that commands end.
func newProbe(env *env) *cobra.Command {
	cfg := struct {
		Subject string `yaml:"subject" arg:"0" help:"what is probed"`
		End     string `yaml:"end" help:"how to end: done, fail, usage, wait, linger"`
		Deep    bool   `yaml:"deep" help:"probe deeply"`
		Train   struct {
			MaxSteps int `yaml:"max_steps" help:"stop after this many steps"`
		} `yaml:"train"`
	}{End: "done"}
	return settings.Command("probe", "probe the command line", "Probe shows what it was given.", &cfg, func(ctx context.Context) error {
		fmt.Fprintf(env.stdout, "%s deep=%t max_steps=%d\n", cfg.Subject, cfg.Deep, cfg.Train.MaxSteps)
		env.log.Info("probed", "subject", cfg.Subject)
		switch cfg.End {
		case "fail":
			return errors.New("probe.bin: truncated at byte 12")
		case "usage":
			return &settings.UsageError{Msg: "probe of nothing", Hint: "name a subject"}
		case "wait":
			<-ctx.Done()
			return fmt.Errorf("saved out/step-000012: %w", ctx.Err())
		case "linger":
			time.Sleep(time.Minute) // deaf to ctx
		}
		return nil
	})
}

// Every command can be listed, and can say what it does.
func TestCommands(t *testing.T) {
	seen := map[string]bool{}
	for _, newCommand := range commands {
		var stdout, stderr bytes.Buffer
		c := newCommand(&env{})
		name := c.Name()
		if seen[name] {
			t.Errorf("two commands are named %s", name)
		}
		seen[name] = true
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: bad short description %q", name, c.Short)
		}
		if code := run(t.Context(), []string{name, "--help"}, strings.NewReader(""), &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("%s --help: got code %d, stderr %q", name, code, &stderr)
		}
		if !strings.Contains(stdout.String(), "litgpt "+name) {
			t.Errorf("%s --help: got %q, want its usage", name, &stdout)
		}
	}
}

func TestReport(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	usage := &settings.UsageError{Msg: "bad", Hint: "do it right"}
	for name, tt := range map[string]struct {
		ctx  context.Context
		err  error
		code int
		want string
	}{
		"done":          {t.Context(), nil, 0, ""},
		"done late":     {cancelled, nil, 0, ""},
		"failed":        {t.Context(), errors.New("disk full"), 1, "litgpt: error: disk full\n"},
		"usage":         {t.Context(), fmt.Errorf("recipe: %w", usage), 2, "litgpt: error: recipe: bad\nlitgpt: hint: do it right\n"},
		"several":       {t.Context(), errors.Join(usage, errors.Join(usage, &settings.UsageError{Msg: "worse"})), 2, "litgpt: error: bad\nlitgpt: error: bad\nlitgpt: error: worse\nlitgpt: hint: do it right\n"},
		"one of two":    {t.Context(), fmt.Errorf("a: %w, b: %w", usage, os.ErrExist), 2, "litgpt: error: a: bad, b: file already exists\nlitgpt: hint: do it right\n"},
		"interrupted":   {cancelled, context.Canceled, 130, "litgpt: interrupted\n"},
		"saved":         {cancelled, fmt.Errorf("saved x: %w", context.Canceled), 130, "litgpt: interrupted: saved x\n"},
		"not by a user": {t.Context(), context.Canceled, 1, "litgpt: error: context canceled\n"},
		"other failure": {cancelled, errors.New("disk full"), 1, "litgpt: error: disk full\n"},
	} {
		var stderr bytes.Buffer
		if code := report(tt.ctx, &stderr, tt.err); code != tt.code || stderr.String() != tt.want {
			t.Errorf("%s: got %d and %q, want %d and %q", name, code, &stderr, tt.code, tt.want)
		}
	}
}
