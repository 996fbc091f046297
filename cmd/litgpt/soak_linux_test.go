package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// 10,000 requests of all kinds leave the server with the goroutines that it had, and the second half of them with the memory. With LITGPT_SLOW=1; it takes half a minute.
// LITGPT_SOAK is another number of requests.
func TestSoak(t *testing.T) {
	if os.Getenv("LITGPT_SLOW") != "1" {
		t.Skip("LITGPT_SLOW=1 runs it")
	}
	total := 10_000
	if n, err := strconv.Atoi(os.Getenv("LITGPT_SOAK")); err == nil {
		total = n
	}
	s := serve(t, path("../../demo/model"), "--sequences", "16", "--queue", "64", "--timeout", "120", "--threads", "1")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 3 * time.Minute}
	var sent, failed atomic.Int64
	upTo := func(n int) {
		var workers sync.WaitGroup
		for range 16 {
			workers.Go(func() {
				for i := int(sent.Add(1)); i <= n; i = int(sent.Add(1)) {
					if err := soakRequest(t.Context(), client, s.url, i); err != nil && failed.Add(1) < 10 {
						t.Errorf("request %d: %v", i, err)
					}
				}
				sent.Add(-1)
			})
		}
		workers.Wait()
	}
	begin := time.Now()
	var m [10]measured // after each tenth
	for i := range m {
		upTo(total * (i + 1) / len(m))
		m[i] = measure(t, s)
		t.Logf("after %d requests, %s: %+v", total*(i+1)/len(m), time.Since(begin).Round(time.Second), m[i])
	}
	middle, late := m[4], m[9] // until then caches fill, which are bounded
	if limit := middle.rss + middle.rss/25; late.rss > limit {
		t.Errorf("resident memory: got %d KiB after %d KiB, want at most %d", late.rss, middle.rss, limit)
	}
	if late.goroutines > m[0].goroutines+8 {
		t.Errorf("goroutines: got %d after %d", late.goroutines, m[0].goroutines)
	}
	if late.active != 0 || late.running != 0 {
		t.Errorf("got %d answers active and %d sequences running, want none", late.active, late.running)
	}
	if late.panics != 0 {
		t.Errorf("got %d panics", late.panics)
	}
}

// soakRequest is the i-th of a mixture; every seventh goes away in the middle of its stream.
func soakRequest(ctx context.Context, client *http.Client, url string, i int) error {
	chat := func(more string) string {
		return fmt.Sprintf(`{"messages":[{"role":"user","content":"Request %d: what news?"}],"max_tokens":%d,"seed":%d%s}`, i, 1+i%6, i, more)
	}
	p, body, want := "/v1/chat/completions", chat(""), 200
	switch i % 7 {
	case 1, 2:
		body = chat(`,"stream":true`)
	case 3:
		p, body = "/v1/completions", fmt.Sprintf(`{"prompt":"Act %d","max_tokens":3,"logprobs":2}`, i)
	case 4:
		p, body = "/v1/embeddings", fmt.Sprintf(`{"input":"verse %d"}`, i)
	case 5:
		body, want = chat(`,"temperature":-1`), 400
	case 6:
		body = fmt.Sprintf(`{"messages":[{"role":"user","content":"%d"}],"max_tokens":200,"stream":true}`, i)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+p, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("%s %s: status %d, want %d: %.200s", p, body, response.StatusCode, want, text)
	}
	if i%7 == 6 {
		_, err = bufio.NewReader(response.Body).ReadString('\n')
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// measured is what must not grow.
type measured struct {
	rss                                 int // KiB
	goroutines, active, running, panics int
}

// measure waits until nothing runs, for ten seconds at most, and asks the server and the system.
func measure(t *testing.T, s serving) (m measured) {
	t.Helper()
	for range 100 {
		r, err := http.Get(s.url + "/metrics")
		check(t, err)
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		check(t, err)
		value := func(name string) (sum int) {
			for _, f := range regexp.MustCompile(`(?m)^`+name+`(?:\{[^}]*\})? (\S+)$`).FindAllSubmatch(text, -1) {
				v, err := strconv.ParseFloat(string(f[1]), 64)
				check(t, err)
				sum += int(v)
			}
			return sum
		}
		m = measured{goroutines: value("go_goroutines"), active: value("litgpt_answers_active"), running: value("litgpt_sequences_running"), panics: value("litgpt_panics_total")}
		if m.active == 0 && m.running == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Pid))
	check(t, err)
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	m.rss, err = strconv.Atoi(string(found[1]))
	check(t, err)
	return m
}
