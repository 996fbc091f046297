//go:build unix

package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// serving is a litgpt serve that runs.
type serving struct {
	url     string // without a path
	process *os.Process
	stop    func() // as SIGTERM does, until it has ended
}

// serve starts litgpt serve on a free port and waits until it answers. The test ends it.
func serve(t *testing.T, args ...string) serving {
	t.Helper()
	c := exec.Command("litgpt", append([]string{"serve", "--port", "0"}, args...)...)
	stderr, err := c.StderrPipe()
	check(t, err)
	check(t, c.Start())
	s := serving{process: c.Process, stop: sync.OnceFunc(func() {
		check(t, c.Process.Signal(syscall.SIGTERM))
		if err := c.Wait(); err != nil && c.ProcessState.ExitCode() != 130 {
			t.Errorf("litgpt serve: %v", err)
		}
	})}
	t.Cleanup(s.stop)
	lines, listening := bufio.NewScanner(stderr), regexp.MustCompile(`url=(http://\S+)`)
	for s.url == "" && lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			s.url = m[1]
		}
	}
	if s.url == "" {
		t.Fatal("litgpt serve did not listen")
	}
	go func() {
		for lines.Scan() { // so that it never waits for a reader
		}
	}()
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.Get(s.url + "/health")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return s
			}
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("litgpt serve is not ready: %v", err)
		}
	}
}

// OpenAI's Python client, of a Python that has it, understands what litgpt serve says: tools/reference/openai_client.py.
func TestOpenAIClient(t *testing.T) {
	python := os.Getenv("LITGPT_PYTHON")
	if python == "" {
		python = "python3"
	}
	if out, err := exec.Command(python, "-c", "import openai").CombinedOutput(); err != nil {
		t.Skipf("%s has no openai (pip install -r tools/reference/requirements-openai.txt, LITGPT_PYTHON names the Python): %.100s", python, out)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	key, err := exec.Command("litgpt", "serve", "--api_keys", keys, "--make_key", "test").Output()
	check(t, err)
	s := serve(t, path("../../demo/model"), "--api_keys", keys, "--log_prompts", "false")
	out, err := exec.CommandContext(t.Context(), python, path("../../tools/reference/openai_client.py"), s.url+"/v1", strings.TrimSpace(string(key))).CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// manifests are the objects of the files in deploy/kubernetes, by kind and name.
func manifests(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(path("../../deploy/kubernetes/*.yaml"))
	check(t, err)
	objects := map[string]map[string]any{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(t, err)
		for d := yaml.NewDecoder(strings.NewReader(string(text))); ; {
			var o map[string]any
			if d.Decode(&o) != nil {
				break
			}
			objects[fmt.Sprint(o["kind"], "/", at(o, "metadata", "name"))] = o
		}
	}
	return objects
}

// at goes down into maps by their keys and into lists by their indices; nil where there is nothing.
func at(v any, keys ...any) any {
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

// The manifests ask for what this program has: its flags, its paths, its metrics, and time enough to drain.
func TestManifests(t *testing.T) {
	objects := manifests(t)
	deployment := objects["Deployment/litgpt"]
	container := at(deployment, "spec", "template", "spec", "containers", 0)
	var args []string
	for _, a := range at(container, "args").([]any) {
		args = append(args, a.(string))
	}
	command := newServe(&env{})
	if args[0] != command.Name() {
		t.Fatalf("got the command %q, want %q", args[0], command.Name())
	}
	check(t, command.ParseFlags(args[1:]))
	seconds := func(flag string) float64 {
		f, err := strconv.ParseFloat(command.Flags().Lookup(flag).Value.String(), 64)
		check(t, err)
		return f
	}
	const last = 30 + 15 // server.Config's WriteTimeout, and to unload
	if got, want := at(deployment, "spec", "template", "spec", "terminationGracePeriodSeconds").(int), seconds("pre_drain")+seconds("grace")+last; float64(got) < want {
		t.Errorf("terminationGracePeriodSeconds: got %d, less than the %v s that draining takes", got, want)
	}
	if seconds("grace") < seconds("timeout") {
		t.Errorf("--grace %v is less than --timeout %v: a shutdown would break off answers", seconds("grace"), seconds("timeout"))
	}
	if got := at(container, "readinessProbe", "periodSeconds").(int) * 3; float64(got) > seconds("pre_drain") {
		t.Errorf("the endpoint leaves the Service after some %d s, --pre_drain is %v", got, seconds("pre_drain"))
	}

	keys := filepath.Join(t.TempDir(), "keys")
	_, err := exec.Command("litgpt", "serve", "--api_keys", keys, "--make_key", "test").Output()
	check(t, err)
	s := serve(t, path("../../demo/model"), "--api_keys", keys, "--open_metrics")
	get := func(p string) (int, string) {
		r, err := http.Get(s.url + p)
		check(t, err)
		defer r.Body.Close()
		var text strings.Builder
		_, err = bufio.NewReader(r.Body).WriteTo(&text)
		check(t, err)
		return r.StatusCode, text.String()
	}
	for _, probe := range []string{"startupProbe", "readinessProbe", "livenessProbe"} {
		p := at(container, probe, "httpGet", "path").(string)
		if code, text := get(p); code != 200 {
			t.Errorf("%s: %s answers %d: %s", probe, p, code, text)
		}
	}
	r, err := http.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader("{}"))
	check(t, err)
	r.Body.Close()
	if r.StatusCode != 401 {
		t.Errorf("without a key: got %d, want 401", r.StatusCode)
	}
	_, metrics := get(at(deployment, "spec", "template", "metadata", "annotations", "prometheus.io/path").(string))
	adapter, err := os.ReadFile(path("../../deploy/prometheus-adapter.yaml"))
	check(t, err)
	source, err := os.ReadFile(path("../../internal/server/metrics.go"))
	check(t, err)
	var names []string
	for _, m := range at(objects["HorizontalPodAutoscaler/litgpt"], "spec", "metrics").([]any) {
		names = append(names, at(m, "pods", "metric", "name").(string))
	}
	if len(names) == 0 {
		t.Error("the autoscaler asks for nothing")
	}
	for _, n := range names {
		// Values by model are there once it was asked something.
		if !strings.Contains(metrics, "\n"+n) && !strings.Contains(string(source), `"`+strings.TrimPrefix(n, "litgpt_")+`"`) && !strings.Contains(string(source), `"`+n+`"`) {
			t.Errorf("/metrics has no %s", n)
		}
		if !strings.Contains(string(adapter), "as: "+n+"}") {
			t.Errorf("deploy/prometheus-adapter.yaml has no rule for %s", n)
		}
	}
	if s := at(objects["Service/litgpt-replicas"], "spec", "clusterIP"); s != "None" {
		t.Errorf("Service/litgpt-replicas: clusterIP is %v; Envoy wants the addresses of the replicas", s)
	}
	for _, kind := range []string{"Deployment/litgpt-envoy", "Service/litgpt", "PodDisruptionBudget/litgpt", "PodDisruptionBudget/litgpt-envoy"} {
		if objects[kind] == nil {
			t.Errorf("there is no %s", kind)
		}
	}
}
