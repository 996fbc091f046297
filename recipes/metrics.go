package recipes

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/litgpt-go/litgpt/internal/train"
)

// metrics writes logs/csv/version_N/metrics.csv, a line a step, as Lightning's CSVLogger names it.
type metrics struct {
	f   *os.File
	w   *csv.Writer
	err error
}

// newMetrics begins the next version. A resumed run has a file of its own; its first step tells where it went on.
func newMetrics(outDir string, step int) (*metrics, error) {
	base := filepath.Join(outDir, "logs", "csv")
	for n := 0; ; n++ {
		dir := filepath.Join(base, fmt.Sprintf("version_%d", n))
		if exists(dir) {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		f, err := os.Create(filepath.Join(dir, "metrics.csv"))
		if err != nil {
			return nil, err
		}
		m := &metrics{f: f, w: csv.NewWriter(f)}
		m.row("step", "epoch", "loss", "val_loss", "learning_rate", "grad_norm", "tokens", "total_tokens", "seconds")
		return m, m.err
	}
}

func (m *metrics) row(fields ...string) {
	m.w.Write(fields)
	m.w.Flush()
	if m.err == nil {
		m.err = m.w.Error()
	}
}

func (m *metrics) write(p train.Progress, total int64, val float64) {
	f := func(x float64) string { return strconv.FormatFloat(x, 'g', 8, 64) }
	v := ""
	if val != 0 {
		v = f(val)
	}
	m.row(strconv.Itoa(p.Step), strconv.Itoa(p.Epoch+1), f(p.Loss), v, f(p.Rate), f(p.Norm), strconv.Itoa(p.Tokens), strconv.FormatInt(total, 10), f(p.Time.Seconds()))
}

// close reports the first line that could not be written.
func (m *metrics) close() error {
	err := errors.Join(m.err, m.f.Close())
	if err != nil {
		return fmt.Errorf("%s: %w", m.f.Name(), err)
	}
	return nil
}
