package recipes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/litgpt-go/litgpt/internal/sample"
	"github.com/litgpt-go/litgpt/internal/server"
	"github.com/litgpt-go/litgpt/internal/server/page"
)

// Serve answers requests over HTTP: "litgpt serve".
type Serve struct {
	CheckpointDir string   `yaml:"checkpoint_dir" arg:"0,optional" help:"model or adapter directory"`
	Name          string   `yaml:"name" help:"what requests call the model; default the directory's name"`
	Models        []string `yaml:"models" help:"more models, as NAME=DIRECTORY"`
	Adapters      []string `yaml:"adapters" help:"LoRA adapters on the first model, as NAME=DIRECTORY, or on another, as NAME@MODEL=DIRECTORY"`
	AnyModel      bool     `yaml:"any_model" help:"answer requests for models of unknown names by the first"`

	Host         string   `yaml:"host" help:"address to listen on; 0.0.0.0 for all of the machine's"`
	Port         int      `yaml:"port" help:"port to listen on; 0 for any that is free"`
	TLSCert      string   `yaml:"tls_cert" help:"file of the certificate, for HTTPS"`
	TLSKey       string   `yaml:"tls_key" help:"file of the certificate's private key"`
	APIKeys      string   `yaml:"api_keys" help:"file with the hashes of the keys that requests must have"`
	MakeKey      string   `yaml:"make_key" help:"make a key of this name, add its hash to the file of --api_keys, print the key, and end"`
	Admin        bool     `yaml:"admin" help:"the key of --make_key may load and unload models"`
	ModelRoots   []string `yaml:"model_roots" help:"directories from which administrators may load models and adapters"`
	AllowOrigins []string `yaml:"allowed_origins" help:"web pages of these origins may send requests (CORS); * for all"`
	AllowHosts   []string `yaml:"allowed_hosts" help:"names the server goes by; default any, but on the loopback address without keys only localhost's"`

	APIPath    string `yaml:"api_path" help:"path of LitGPT's own endpoint"`
	Stream     bool   `yaml:"stream" help:"LitGPT's endpoint answers with a JSON line for each piece of text"`
	OpenAISpec bool   `yaml:"openai_spec" help:"as in LitGPT; OpenAI's endpoints are always there"`

	MaxNewTokens int     `yaml:"max_new_tokens" help:"tokens of an answer of LitGPT's endpoint at most"`
	Temperature  float64 `yaml:"temperature" help:"of requests that do not say: below 1 sharper, above 1 flatter; 0 takes the likeliest token"`
	TopK         int     `yaml:"top_k" help:"of requests that do not say: choose among this many of the likeliest tokens; 0 for all"`
	TopP         float64 `yaml:"top_p" help:"of requests that do not say: choose among the likeliest tokens that together have this probability"`

	Sequences     int     `yaml:"sequences" help:"answers that are generated at once, of each model"`
	Positions     int     `yaml:"kv_positions" help:"tokens for whose keys and values there is room, of each model; 0 for 1024 a sequence, or one context, in 4 GiB at most"`
	Chunk         int     `yaml:"chunk" help:"tokens that run at once, so much of a long prompt between others' tokens"`
	Deterministic bool    `yaml:"deterministic" help:"answers do not depend on what else runs, bit for bit; slower"`
	Queue         int     `yaml:"queue" help:"answers that run or wait, of each model; further requests are refused (429)"`
	MaxTokens     int     `yaml:"max_tokens" help:"tokens of any answer at most; 0 for as many as fit the context"`
	MaxBody       int64   `yaml:"max_body" help:"bytes of a request at most"`
	Timeout       float64 `yaml:"timeout" help:"seconds for a request, waiting included; 0 for no limit"`
	PreDrain      float64 `yaml:"pre_drain" help:"seconds from SIGTERM until no new requests are taken; /health is 503 meanwhile"`
	Grace         float64 `yaml:"grace" help:"seconds for requests to end after that"`

	OpenMetrics bool   `yaml:"open_metrics" help:"/metrics needs no key"`
	LogPrompts  bool   `yaml:"log_prompts" help:"log what is asked"`
	LogFormat   string `yaml:"log_format" help:"text or json"`
	PromptStyle string `yaml:"prompt_style" help:"style to write conversations in; default is the model's own: its finetuning's, else its chat template, else LitGPT's for its name"`
	Inference   `yaml:",inline"`
}

// NewServe returns the defaults.
func NewServe() Serve {
	return Serve{Host: "127.0.0.1", Port: 8000, APIPath: "/predict", MaxNewTokens: 50, Temperature: 0.8, TopK: 50, TopP: 1, Sequences: 64, Chunk: 256, Queue: 256, MaxBody: 8 << 20,
		Timeout: 600, Grace: 120, LogFormat: "text", Inference: newInference()}
}

// check reports wrong settings.
func (c Serve) check() error {
	var bad []string
	wrong := func(is bool, format string, a ...any) {
		if is {
			bad = append(bad, fmt.Sprintf(format, a...))
		}
	}
	wrong(c.Port < 0 || c.Port > 65535, "--port is %d; 0 to 65535 wanted", c.Port)
	wrong((c.TLSCert == "") != (c.TLSKey == ""), "--tls_cert and --tls_key are needed together")
	wrong(!strings.HasPrefix(c.APIPath, "/") || len(c.APIPath) < 2 || strings.HasSuffix(c.APIPath, "/"), "--api_path is %q; a path like /predict wanted", c.APIPath)
	wrong(c.MaxNewTokens < 1, "--max_new_tokens is %d; a positive number wanted", c.MaxNewTokens)
	wrong(c.Sequences < 1, "--sequences is %d; a positive number wanted", c.Sequences)
	wrong(c.Positions < 0, "--kv_positions is %d; 0 or a positive number wanted", c.Positions)
	wrong(c.Chunk < 1, "--chunk is %d; a positive number wanted", c.Chunk)
	wrong(c.Queue < 1, "--queue is %d; a positive number wanted", c.Queue)
	wrong(c.MaxTokens < 0, "--max_tokens is %d; 0 or a positive number wanted", c.MaxTokens)
	wrong(c.MaxBody < 1, "--max_body is %d; a positive number of bytes wanted", c.MaxBody)
	for _, s := range []struct {
		name  string
		value float64
	}{{"timeout", c.Timeout}, {"pre_drain", c.PreDrain}, {"grace", c.Grace}} {
		wrong(!(s.value >= 0 && s.value < 1e6), "--%s is %v; a number of seconds wanted", s.name, s.value)
	}
	wrong(c.LogFormat != "text" && c.LogFormat != "json", "--log_format is %q; text or json wanted", c.LogFormat)
	wrong(c.MakeKey != "" && c.APIKeys == "", "--make_key needs the file of --api_keys, to which it adds")
	wrong(c.MakeKey == "" && c.CheckpointDir == "", "checkpoint_dir is missing: litgpt serve DIRECTORY")
	if err := c.sampling().Check(); err != nil {
		bad = append(bad, err.Error())
	}
	return usage(bad)
}

func (c Serve) sampling() sample.Config {
	return sample.Config{Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Run serves until ctx ends, and then until what is begun is done.
func (c Serve) Run(ctx context.Context, stdout, stderr io.Writer, log *slog.Logger) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.MakeKey != "" {
		key, err := server.MakeKey(c.APIKeys, c.MakeKey, c.Admin)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(stdout, key)
		return err
	}
	if c.LogFormat == "json" {
		log = slog.New(slog.NewJSONHandler(stderr, nil))
	}
	config, err := c.config(log)
	if err != nil {
		return err
	}
	var secure *tls.Config
	if c.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return fmt.Errorf("--tls_cert, --tls_key: %w", err)
		}
		secure = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(c.Host, strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("--host, --port: %w", err)
	}
	s := server.New(config)
	done := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() { done <- s.Run(serving, l, secure) }()
	scheme := "http"
	if secure != nil {
		scheme = "https"
	}
	log.Info("listening", "url", scheme+"://"+l.Addr().String(), "keys", config.Keys != nil)
	if config.Keys == nil && !loopback(c.Host) {
		log.Warn("everybody who reaches this address may use the models; give --api_keys")
	}
	if err = c.load(ctx, s, log); err == nil {
		s.Ready()
		log.Info("ready")
		err = <-done
	} else {
		stop()
		err = errors.Join(err, <-done)
	}
	return errors.Join(err, s.Close())
}

// config is the server's.
func (c Serve) config(log *slog.Logger) (server.Config, error) {
	s := server.NewConfig(log)
	switch key := os.Getenv("LIT_SERVER_API_KEY"); { // LitServe's
	case c.APIKeys != "":
		var err error
		if s.Keys, err = server.ReadKeys(c.APIKeys); err != nil {
			return s, err
		}
	case key != "":
		s.Keys = server.OneKey(key, "LIT_SERVER_API_KEY")
	}
	s.Origins, s.Hosts, s.Roots = c.AllowOrigins, c.AllowHosts, c.ModelRoots
	if len(s.Hosts) == 0 && s.Keys == nil && loopback(c.Host) {
		s.Hosts = []string{"localhost", "127.0.0.1", "::1", strings.ToLower(c.Host)}
	}
	if len(c.ModelRoots) > 0 {
		s.Open = func(ctx context.Context, dir string) (server.Model, error) { return c.open(dir, log) }
	}
	s.Sampling, s.AnyModel, s.MaxBody, s.MaxTokens, s.Queue = c.sampling(), c.AnyModel, c.MaxBody, c.MaxTokens, c.Queue
	s.Timeout, s.PreDrain, s.Grace = seconds(c.Timeout), seconds(c.PreDrain), seconds(c.Grace)
	s.Predict = server.Predict{Path: c.APIPath, Stream: c.Stream, MaxTokens: c.MaxNewTokens}
	s.OpenMetrics, s.LogContent, s.Page = c.OpenMetrics, c.LogPrompts, page.Handler()
	return s, nil
}

// loopback reports whether only this machine reaches an address.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// load loads the models to begin with.
func (c Serve) load(ctx context.Context, s *server.Server, log *slog.Logger) error {
	name := c.Name
	if name == "" {
		abs, err := filepath.Abs(c.CheckpointDir)
		if err != nil {
			return err
		}
		name = strings.TrimSuffix(filepath.Base(abs), ".gguf")
	}
	models := append([]string{name + "=" + c.CheckpointDir}, c.Models...)
	for _, text := range models {
		name, dir, ok := strings.Cut(text, "=")
		if !ok || name == "" || dir == "" {
			return usage([]string{fmt.Sprintf("--models has %q; NAME=DIRECTORY wanted", text)})
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := c.open(dir, log)
		if err != nil {
			return err
		}
		if err := s.AddModel(name, m); err != nil {
			return errors.Join(err, m.Close())
		}
	}
	for _, text := range c.Adapters {
		id, dir, ok := strings.Cut(text, "=")
		id, base, other := strings.Cut(id, "@")
		if !ok || id == "" || dir == "" || other && base == "" {
			return usage([]string{fmt.Sprintf("--adapters has %q; NAME=DIRECTORY or NAME@MODEL=DIRECTORY wanted", text)})
		}
		if !other {
			base = name
		}
		if err := s.AddAdapter(ctx, id, base, dir); err != nil {
			return err
		}
	}
	return nil
}
