package recipes

import (
	"bytes"
	"fmt"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// plot draws the errors by layer as SVG: above those of the weights, a line for each kind, below
// those of the hidden states, to which the layers add up.
func (r *reportCard) plot() ([]byte, error) {
	weights, hidden := plot.New(), plot.New()
	weights.Title.Text = "Relative error of the weights"
	hidden.Title.Text = "Relative error of the hidden states after each layer"
	hidden.X.Label.Text = "layer"
	for _, p := range []*plot.Plot{weights, hidden} {
		p.Y.Label.Text = "%"
		p.Y.Min = 0
		p.Add(plotter.NewGrid())
	}
	kinds, layers := r.byLayer()
	weights.Legend.Top = true
	for i, k := range kinds {
		var points plotter.XYs
		for layer := range layers {
			if w := k.layers[layer]; w != nil {
				points = append(points, plotter.XY{X: float64(layer), Y: 100 * w.Error})
			}
		}
		if err := addLine(weights, k.name, i, points); err != nil {
			return nil, err
		}
	}
	weights.X.Max = float64(max(1, layers)) * 1.25 // room for the legend
	var points plotter.XYs
	for i, e := range r.Hidden {
		points = append(points, plotter.XY{X: float64(i - 1), Y: 100 * e}) // -1 is the embedding
	}
	if err := addLine(hidden, "", 0, points); err != nil {
		return nil, err
	}
	hidden.X.Min, hidden.X.Max = weights.X.Min, weights.X.Max
	for _, p := range []*plot.Plot{weights, hidden} {
		p.Y.Max *= 1.05 // marks at the edge would be cut
	}

	const width, height = 9 * vg.Inch, 8 * vg.Inch
	canvas := vgsvg.New(width, height)
	tiles := draw.Tiles{Rows: 2, Cols: 1, PadY: 4 * vg.Millimeter, PadTop: 2 * vg.Millimeter, PadBottom: 2 * vg.Millimeter, PadLeft: 2 * vg.Millimeter, PadRight: 2 * vg.Millimeter}
	panels := plot.Align([][]*plot.Plot{{weights}, {hidden}}, tiles, draw.New(canvas))
	weights.Draw(panels[0][0])
	hidden.Draw(panels[1][0])
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("plot: %w", err)
	}
	return b.Bytes(), nil
}

// addLine adds points joined by a line; label is for the legend, "" for none.
func addLine(p *plot.Plot, label string, style int, points plotter.XYs) error {
	if len(points) == 0 {
		return nil
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	line.Color, dots.Color = plotutil.Color(style), plotutil.Color(style)
	line.Dashes = plotutil.Dashes(style / 7)
	dots.Shape, dots.Radius = plotutil.Shape(style), 2
	p.Add(line, dots)
	if label != "" {
		p.Legend.Add(label, line, dots)
	}
	return nil
}
