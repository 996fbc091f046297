package progress

import (
	"fmt"
	"strings"
	"time"
)

// status is the state in words:
//
//	pretrain 120/1000 steps, 3.2 steps/s, 4m35s left, loss 2.31 lr 2e-4
//
// A line without a bar says 12% as well.
func (b *Bar) status() string {
	first := b.samples[0]
	rate := rate(b.n-first.n, b.now().Sub(first.at))
	parts := []string{b.count()}
	if rate > 0 {
		parts = append(parts, b.speed(rate))
		if left := float64(b.total-b.n) / rate; b.total > 0 && left >= 0 && left < 1e9 {
			parts = append(parts, short(time.Duration(left*float64(time.Second)))+" left")
		}
	}
	return b.sentence(parts)
}

// summary is what remains of the bar: pretrain 1000/1000 steps in 5m12s, 3.2 steps/s, loss 2.31.
func (b *Bar) summary() string {
	took := b.now().Sub(b.start)
	parts := []string{b.count() + " in " + short(took)}
	if rate := rate(b.n-b.skipped, took); rate > 0 {
		parts = append(parts, b.speed(rate))
	}
	return b.sentence(parts)
}

func (b *Bar) sentence(parts []string) string {
	if b.note != "" {
		parts = append(parts, b.note)
	}
	return strings.TrimSpace(b.label + " " + strings.Join(parts, ", "))
}

// count is "120/1000 steps", with " (12%)" where no bar shows it.
func (b *Bar) count() string {
	s := b.amount(b.n)
	if b.total > 0 {
		s += "/" + b.amount(b.total)
	}
	if b.unit != "B" && b.unit != "" {
		s += " " + b.unit
	}
	if b.total > 0 && b.bar == nil {
		s += fmt.Sprintf(" (%d%%)", min(100, int(100*float64(b.n)/float64(b.total))))
	}
	return s
}

func (b *Bar) amount(n int64) string {
	if b.unit == "B" {
		return bytesText(float64(n))
	}
	return fmt.Sprint(n)
}

// speed is "3.2 steps/s", or per minute or hour where that is less than one.
func (b *Bar) speed(perSecond float64) string {
	if b.unit == "B" {
		return bytesText(perSecond) + "/s"
	}
	n, per := perSecond, "s"
	if n < 1 {
		n, per = n*60, "min"
	}
	if n < 1 {
		n, per = n*60, "h"
	}
	unit := b.unit
	if unit == "" {
		unit = "units"
	}
	if n < 100 {
		return fmt.Sprintf("%.3g %s/%s", n, unit, per)
	}
	return fmt.Sprintf("%.0f %s/%s", n, unit, per)
}

// rate is units per second, 0 if too little time has passed to say.
func rate(n int64, took time.Duration) float64 {
	if took < 10*time.Millisecond {
		return 0
	}
	return float64(n) / took.Seconds()
}

// short rounds a duration to what a reader wants: 0.4s, 12s, 4m35s, 3h20m.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// bytesText writes bytes in decimal units, as disks and networks are sold.
func bytesText(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	i := 0
	for n >= 999.5 && i < len(units)-1 {
		n, i = n/1000, i+1
	}
	if i == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, units[i])
	}
	return fmt.Sprintf("%.3g %s", n, units[i])
}
