package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/litgpt-go/litgpt/internal/generate"
)

// metrics are what GET /metrics shows. Names begin with litgpt_; what routers and
// autoscalers of vLLM look for is there under its names too.
type metrics struct {
	registry *prometheus.Registry
	handler  http.Handler

	requests  *prometheus.CounterVec   // by endpoint and status
	seconds   *prometheus.HistogramVec // by endpoint
	first     *prometheus.HistogramVec // until an answer's first text, by model
	between   *prometheus.HistogramVec // per token after that, by model
	answers   *prometheus.CounterVec   // choices that ended, by model and reason
	prompt    *prometheus.CounterVec   // tokens, by model
	generated *prometheus.CounterVec
	rejected  *prometheus.CounterVec // by reason
	running   *prometheus.GaugeVec   // choices that run or wait, by model
	panics    prometheus.Counter
}

// Buckets, in seconds.
var (
	latency = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	perStep = []float64{.001, .0025, .005, .01, .02, .04, .08, .15, .3, .6, 1.2, 2.5, 5}
)

func newMetrics(s *Server) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "litgpt_" + name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, label string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "litgpt_" + name, Help: help, Buckets: buckets}, []string{label})
		m.registry.MustRegister(v)
		return v
	}
	m.requests = counter("requests_total", "Requests answered; status 499 is a client that went away.", "endpoint", "status")
	m.seconds = histogram("request_seconds", "From a request to the end of its answer.", latency, "endpoint")
	m.first = histogram("first_token_seconds", "From a request's admission to the first text of an answer.", latency, "model")
	m.between = histogram("token_seconds", "Per token after the first text of an answer.", perStep, "model")
	m.answers = counter("answers_total", "Answers that ended, by reason: stop, length, tool_calls, error, cancelled.", "model", "reason")
	m.prompt = counter("prompt_tokens_total", "Tokens of prompts.", "model")
	m.generated = counter("generated_tokens_total", "Tokens generated.", "model")
	m.rejected = counter("rejected_total", "Requests refused for load.", "reason")
	m.running = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "litgpt_answers_active", Help: "Answers that run or wait."}, []string{"model"})
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "litgpt_panics_total", Help: "Bugs that a request ran into."})
	m.registry.MustRegister(m.running, m.panics, &engineStats{s: s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// showMetrics answers GET /metrics.
func (s *Server) showMetrics(w http.ResponseWriter, r *http.Request) error {
	s.metrics.handler.ServeHTTP(w, r)
	return nil
}

// request counts an answered request.
func (m *metrics) request(endpoint string, status int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(endpoint).Observe(took.Seconds())
}

// watch measures one choice. One goroutine uses it.
type watch struct {
	m      *metrics
	model  string
	start  time.Time
	first  time.Time
	tokens int // since first
	reason string
}

func (m *metrics) watch(q *question) *watch {
	m.running.WithLabelValues(q.m.name).Inc()
	m.prompt.WithLabelValues(q.m.name).Add(float64(len(q.ids)))
	return &watch{m: m, model: q.m.name, start: time.Now(), reason: "cancelled"}
}

func (w *watch) piece(p piece) {
	w.m.generated.WithLabelValues(w.model).Add(float64(p.tokens))
	if w.first.IsZero() {
		w.first = time.Now()
		w.m.first.WithLabelValues(w.model).Observe(w.first.Sub(w.start).Seconds())
	} else {
		w.tokens += p.tokens
	}
	if p.finish != "" {
		w.reason = p.finish
	}
}

func (w *watch) failed(e *Error) {
	if e.Status == http.StatusInternalServerError {
		w.reason = "error"
	}
}

func (w *watch) end() {
	if w.tokens > 0 {
		w.m.between.WithLabelValues(w.model).Observe(time.Since(w.first).Seconds() / float64(w.tokens))
	}
	w.m.running.WithLabelValues(w.model).Dec()
	w.m.answers.WithLabelValues(w.model, w.reason).Inc()
}

// engineStats collects what the models' engines count, when somebody asks.
type engineStats struct{ s *Server }

// engineMetric is a value of an engine.
type engineMetric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(generate.Stats) float64
}

var engineMetrics = []engineMetric{
	{"litgpt_sequences_running", "Sequences that are generated now.", prometheus.GaugeValue, func(s generate.Stats) float64 { return float64(s.Running) }},
	{"litgpt_sequences_waiting", "Sequences that wait for room.", prometheus.GaugeValue, func(s generate.Stats) float64 { return float64(s.Waiting) }},
	{"litgpt_kv_cache_pages", "Pages of the KV cache.", prometheus.GaugeValue, func(s generate.Stats) float64 { return float64(s.Pages) }},
	{"litgpt_kv_cache_used_pages", "Pages of the KV cache in use.", prometheus.GaugeValue, func(s generate.Stats) float64 { return float64(s.UsedPages) }},
	{"litgpt_kv_cache_usage", "Part of the KV cache in use, 0 to 1.", prometheus.GaugeValue, usage},
	{"litgpt_prefix_tokens_total", "Tokens of prompts that the engine was given.", prometheus.CounterValue, func(s generate.Stats) float64 { return float64(s.Prompt) }},
	{"litgpt_prefix_cached_tokens_total", "Of those, how many were found in the KV cache.", prometheus.CounterValue, func(s generate.Stats) float64 { return float64(s.Cached) }},
	{"litgpt_drafted_tokens_total", "Tokens that speculation guessed.", prometheus.CounterValue, func(s generate.Stats) float64 { return float64(s.Drafted) }},
	{"litgpt_accepted_tokens_total", "Of those, how many were right.", prometheus.CounterValue, func(s generate.Stats) float64 { return float64(s.Accepted) }},
	{"vllm:num_requests_running", "As litgpt_sequences_running.", prometheus.GaugeValue, func(s generate.Stats) float64 { return float64(s.Running) }},
	{"vllm:num_requests_waiting", "As litgpt_sequences_waiting.", prometheus.GaugeValue, func(s generate.Stats) float64 { return float64(s.Waiting) }},
	{"vllm:kv_cache_usage_perc", "As litgpt_kv_cache_usage.", prometheus.GaugeValue, usage},
}

func usage(s generate.Stats) float64 {
	if s.Pages == 0 {
		return 0
	}
	return float64(s.UsedPages) / float64(s.Pages)
}

var (
	readyDesc   = prometheus.NewDesc("litgpt_ready", "1 when requests can be answered.", nil, nil)
	loraDesc    = prometheus.NewDesc("litgpt_models", "Models and adapters that are loaded.", []string{"kind"}, nil)
	engineDescs = func() (descs []*prometheus.Desc) {
		for _, m := range engineMetrics {
			label := "model"
			if m.name[:5] == "vllm:" {
				label = "model_name"
			}
			descs = append(descs, prometheus.NewDesc(m.name, m.help, []string{label}, nil))
		}
		return descs
	}()
)

// Describe implements prometheus.Collector.
func (c *engineStats) Describe(out chan<- *prometheus.Desc) {
	out <- readyDesc
	out <- loraDesc
	for _, d := range engineDescs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *engineStats) Collect(out chan<- prometheus.Metric) {
	ready := 0.
	if c.s.ready.Load() && !c.s.stopping.Load() {
		ready = 1
	}
	out <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, ready)
	counts := map[string]int{"model": 0, "adapter": 0}
	c.s.models.each(func(m *served) {
		if m.base != nil {
			counts["adapter"]++
			return
		}
		counts["model"]++
		stats := m.model.Stats()
		for i, e := range engineMetrics {
			out <- prometheus.MustNewConstMetric(engineDescs[i], e.kind, e.value(stats), m.name)
		}
	})
	for kind, n := range counts {
		out <- prometheus.MustNewConstMetric(loraDesc, prometheus.GaugeValue, float64(n), kind)
	}
}
