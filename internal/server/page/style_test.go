package page

import (
	"math"
	"regexp"
	"strconv"
	"testing"
)

// Text can be read in both colours: WCAG 2.2 asks for a contrast of 4.5 to 1.
func TestContrast(t *testing.T) {
	css, err := static.ReadFile("static/style.css")
	if err != nil {
		t.Fatal(err)
	}
	colours := map[string][2]float64{} // luminance, light and dark
	for _, m := range regexp.MustCompile(`--([\w-]+): light-dark\(#(\w{6}), #(\w{6})\)`).FindAllStringSubmatch(string(css), -1) {
		colours[m[1]] = [2]float64{luminance(t, m[2]), luminance(t, m[3])}
	}
	for _, pair := range [][2]string{
		{"ink", "paper"}, {"ink", "raised"}, {"ink", "sunk"}, {"ink", "mine"}, {"quiet", "paper"}, {"quiet", "raised"}, {"quiet", "sunk"},
		{"accent", "paper"}, {"accent", "sunk"}, {"on-accent", "accent"}, {"wrong", "sunk"}, {"wrong", "paper"},
	} {
		a, there := colours[pair[0]]
		b, also := colours[pair[1]]
		if !there || !also {
			t.Fatalf("no colours named %s and %s", pair[0], pair[1])
		}
		for i, scheme := range []string{"light", "dark"} {
			if got := (max(a[i], b[i]) + 0.05) / (min(a[i], b[i]) + 0.05); got < 4.5 {
				t.Errorf("%s: contrast of %s on %s: got %.2f, want 4.5", scheme, pair[0], pair[1], got)
			}
		}
	}
}

// luminance is WCAG's relative luminance of a colour like 0f6b62.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	v, err := strconv.ParseUint(hex, 16, 24)
	if err != nil {
		t.Fatal(err)
	}
	linear := func(c uint64) float64 {
		s := float64(c&255) / 255
		if s <= 0.04045 {
			return s / 12.92
		}
		return math.Pow((s+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(v>>16) + 0.7152*linear(v>>8) + 0.0722*linear(v)
}
